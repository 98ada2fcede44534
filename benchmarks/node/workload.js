'use strict';

// The twin of ../workload.py.

const SMALL = { id: 7, name: 'row', tags: [ 'a', 'b' ], price: 1.5 };
const ROWS = 5000;
const text = length => '0123456789abcdef'.repeat(length / 16);

const PAYLOADS = {
  none: () => null,
  small: () => SMALL,
  'str 1 KiB': () => text(1 << 10),
  'str 64 KiB': () => text(1 << 16),
  'str 1 MiB': () => text(1 << 20),
  'bytes 1 MiB': () => Buffer.from(text(1 << 20)),
  document: () => Array.from({ length: ROWS }, (_, number) => ({
    id: number,
    name: `row ${number}`,
    price: number + 0.25,
    active: number % 2 === 0,
    tags: [ 'a', `tag ${number % 7}` ],
  })),
};

// Returns a function that says whether an answer is what was sent.
function checker(name) {
  const sent = PAYLOADS[name]();
  if (name === 'none') {
    return answer => answer == null;
  }
  if (name === 'small') {
    return answer => isSmall(answer, sent.id);
  }
  const last = sent.length - 1;
  return answer => answer.constructor === sent.constructor && answer.length === sent.length &&
    same(answer[0], sent[0]) && same(answer[last], sent[last]);
}

// What `==` is in Python; written out, as util.isDeepStrictEqual takes longer.
function isSmall(value, id) {
  return value.id === id && value.name === SMALL.name && value.price === SMALL.price &&
    value.tags.length === 2 && value.tags[0] === SMALL.tags[0] && value.tags[1] === SMALL.tags[1];
}

function same(one, other) {
  return typeof one === 'object'
    ? Object.keys(other).every(key => same(one[key], other[key]))
    : one === other;
}

module.exports = { PAYLOADS, SMALL, checker, isSmall, numbered: id => ({ ...SMALL, id }) };
