'use strict';

// Values of JavaScript as JSON text can carry them, for the line to the test. The other half of it
// is tagged.py. What JSON has no word for is an object with one key:
//
//   {"$buf": hex}   {"$date": ms}   {"$undef": 1}   {"$num": "NaN"|"Infinity"|"-Infinity"|"-0"}
//   {"$error": {"message": …, "stack": …, "fields": {…}}}

const NUMBERS = new Map([
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
  ['-0', -0],
]);

const UNTAG = {
  $buf: hex => Buffer.from(hex, 'hex'),
  $date: ms => new Date(ms === null ? NaN : ms),
  $undef: () => undefined,
  $num: name => NUMBERS.get(name),
  $error: untagError,
};

function tag(value) {
  switch (typeof value) {
    case 'undefined':
      return { $undef: 1 };
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      return tagNumber(value);
    case 'object':
      return value === null ? null : tagObject(value);
    default:
      throw new TypeError(`a ${typeof value} has no tag`);
  }
}

function untag(value) {
  if (value === null || typeof value !== 'object') {
    return value;
  }
  if (Array.isArray(value)) {
    return value.map(untag);
  }
  const keys = Object.keys(value);
  if (keys.length === 1 && Object.hasOwn(UNTAG, keys[0])) {
    return UNTAG[keys[0]](value[keys[0]]);
  }
  return mapFields(value, untag);
}

function tagNumber(value) {
  for (const [name, special] of NUMBERS) {
    if (Object.is(value, special)) {
      return { $num: name };
    }
  }
  return value;
}

function tagObject(value) {
  if (Buffer.isBuffer(value)) {
    return { $buf: value.toString('hex') };
  }
  if (value instanceof Date) {
    const ms = value.getTime();
    return { $date: Number.isNaN(ms) ? null : ms };
  }
  if (value instanceof Error) {
    return { $error: tagError(value) };
  }
  if (Array.isArray(value)) {
    return Array.from(value, tag); // unlike map, it does not skip holes
  }
  const keys = Object.keys(value);
  if (keys.length === 1 && Object.hasOwn(UNTAG, keys[0])) {
    throw new TypeError(`an object with the only key ${keys[0]} would be taken for a tag`);
  }
  return mapFields(value, tag);
}

function tagError(error) {
  const { message, stack, ...fields } = error; // own ones only
  return { message: error.message, stack: error.stack, fields: mapFields(fields, tag) };
}

function untagError({ message, stack, fields }) {
  return Object.assign(new Error(message), { stack }, mapFields(fields || {}, untag));
}

// Object.fromEntries, as an assignment to the key __proto__ would be something else.
function mapFields(object, function_) {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, function_(value)]));
}

module.exports = { tag, untag };
