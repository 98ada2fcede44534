'use strict';

// Values of all kinds, and what the npm package serialize-json makes of them.
//
//   node values.js random COUNT SEED   a line of JSON per value: {tagged, hex, decoded}
//   node values.js decode              reads lines of hex, writes what Node decodes, tagged
//   node values.js time                medians in ms: {rows: {encode, decode}, bytes: {…}}
//   node values.js time-loop           the same, a line for each line that it reads
//
// Tags, as JSON has no such values; tagged.py reads them:
//   {"$num": hex}    a number that is no small integer: the 16 digits of its double
//   {"$buf": hex}    a Buffer
//   {"$date": ms}    a Date
//   {"$undef": 1}    undefined
//   {"$map": pairs}  an object, in its order
//   {"$error": [message, stack, pairs]}   an Error with its own enumerable members

const readline = require('readline');
const { randomBytes } = require('crypto');
const serializer = require('serialize-json');

// mulberry32: small, and the same on every machine.
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Values {
  constructor(seed) {
    this.random = generator(seed);
  }

  below(limit) {
    return Math.floor(this.random() * limit);
  }

  oneOf(items) {
    return items[this.below(items.length)];
  }

  text() {
    const pieces = [
      'a', 'Z', '0', '7', ' ', '+', '|', '^', '%', '%2B', '%7C', '%5E', '%25', '%252B', '$', '@', '*', '#', ']',
      '-1', '-5', '\0', '\n', '\t', '\x7f', '"', '\\', 'é', '中', '\u2028', '😀', '\ufeff', '\uffff', 'null', 'row ',
    ];
    let text = '';
    for (let i = this.below(this.below(5) ? 5 : 40); i > 0; i--) text += this.oneOf(pieces);
    return text;
  }

  key() {
    const keys = [
      '0', '1', '2', '10', '007', '-1', '1.5', '4294967294', '4294967295', '4294967296', '9007199254740993',
      '', 'id', 'name', 'constructor', 'toString', 'length', 'message', 'stack', '中',
    ];
    return this.below(3) ? this.oneOf(keys) : this.text().replace('__proto__', '');
  }

  number() {
    const special = [
      0, -0, NaN, Infinity, -Infinity, 1e21, -1e21, 1e-7, 1e-6, 0.1 + 0.2, 5e-324, 2.2250738585072014e-308,
      Number.MAX_VALUE, -Number.MAX_VALUE, 2 ** 53, 2 ** 53 - 1, -(2 ** 53), 2 ** 53 + 2, 2 ** 60, 36 ** 11, 255, 256,
      1295, 1296, 46655, 46656, 2 ** 31, 2 ** 32, 1e15, 1e16, 123456789012345680000,
    ];
    const sign = this.below(2) ? 1 : -1;
    switch (this.below(6)) {
      case 0: return this.oneOf(special);
      case 1: return this.below(2000) - 500;
      case 2: return sign * Math.floor(this.random() * 2 ** this.below(64));
      case 3: return sign * this.random() * 10 ** (this.below(50) - 25);
      case 4: return sign * Math.floor(this.random() * 2 ** 52) * 2 ** this.below(900); // an integer
      default: { // any bits
        const view = new DataView(new ArrayBuffer(8));
        view.setUint32(0, this.below(2 ** 32));
        view.setUint32(4, this.below(2 ** 32));
        return view.getFloat64(0);
      }
    }
  }

  buffer() {
    const size = this.below(8) ? this.below(6) : this.below(400);
    return Buffer.from(Array.from({ length: size }, () => this.below(256)));
  }

  date() { // within Python's years
    const first = -62135596800000;
    const last = 253402300799999;
    return new Date(this.below(4) ? Math.floor(this.random() * 4e12) - 1e12 : first + Math.floor(this.random() * (last - first)));
  }

  fill(object, depth) {
    for (let i = this.below(5); i > 0; i--) object[this.key()] = this.value(depth + 1);
    return object;
  }

  error(depth) {
    const error = this.oneOf([ Error, TypeError, RangeError ])(this.text());
    error.stack = this.below(2) ? this.text() : error.stack; // now: it is made late, with the name
    if (this.below(2)) error.name = this.oneOf([ 'Error', 'MyError', '' ]);
    if (this.below(3) === 0) error.code = this.value(depth + 1);
    const { message, stack, ...fields } = this.fill({}, depth);
    return Object.assign(error, fields);
  }

  value(depth = 0) {
    switch (this.below(depth > 5 ? 8 : 12)) {
      case 0: return null;
      case 1: return undefined;
      case 2: return this.below(2) === 0;
      case 3: case 4: return this.number();
      case 5: return this.text();
      case 6: return this.buffer();
      case 7: return this.date();
      case 8: return this.error(depth);
      case 9: return Array.from({ length: this.below(6) }, () => this.value(depth + 1));
      default: return this.fill({}, depth);
    }
  }
}

function bits(number) {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, number);
  return view.getBigUint64(0).toString(16).padStart(16, '0');
}

function pairs(object) {
  return Object.keys(object).map(key => [ key, tagged(object[key]) ]);
}

function tagged(value) {
  if (value === undefined) return { $undef: 1 };
  if (typeof value === 'number') {
    const small = Number.isInteger(value) && Math.abs(value) < 2 ** 31 && !Object.is(value, -0);
    return small ? value : { $num: bits(value) };
  }
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(tagged);
  if (Buffer.isBuffer(value)) return { $buf: value.toString('hex') };
  if (value instanceof Date) return { $date: value.getTime() };
  if (value instanceof Error) return { $error: [ value.message, value.stack, pairs(value) ] };
  return { $map: pairs(value) };
}

async function random(count, seed) {
  const values = new Values(seed);
  for (let i = 0; i < count; i++) {
    const value = values.value();
    const data = serializer.encode(value);
    const line = { tagged: tagged(value), hex: data.toString('hex'), decoded: tagged(serializer.decode(data)) };
    if (!process.stdout.write(JSON.stringify(line) + '\n')) {
      await new Promise(resolve => process.stdout.once('drain', resolve));
    }
  }
}

async function eachLine(act) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(act(line)) + '\n');
  }
}

function payloads() {
  const rows = Array.from({ length: 5000 }, (_, i) => (
    { id: i, name: `row number ${i}`, price: i * 1.25, active: i % 2 === 0, tags: [ 'a', 'b' ] }
  ));
  return { rows, bytes: randomBytes(1 << 20) };
}

function milliseconds(act) {
  const start = process.hrtime.bigint();
  const result = act();
  return [ Number(process.hrtime.bigint() - start) / 1e6, result ];
}

function once(value) {
  const [ encode, data ] = milliseconds(() => serializer.encode(value));
  const [ decode ] = milliseconds(() => serializer.decode(data));
  return { encode, decode };
}

function round(values) {
  return Object.fromEntries(Object.entries(values).map(([ name, value ]) => [ name, once(value) ]));
}

function median(numbers) {
  return numbers.sort((a, b) => a - b)[numbers.length >> 1];
}

function time(values, rounds = 9) {
  round(values); // warm up
  const all = Array.from({ length: rounds }, () => round(values));
  return Object.fromEntries(Object.keys(values).map(name => [ name, {
    encode: median(all.map(one => one[name].encode)),
    decode: median(all.map(one => one[name].decode)),
  } ]));
}

const [ command, count, seed ] = process.argv.slice(2);
switch (command) {
  case 'random':
    random(Number(count), Number(seed));
    break;
  case 'decode':
    eachLine(line => tagged(serializer.decode(Buffer.from(line, 'hex'))));
    break;
  case 'time':
    console.log(JSON.stringify(time(payloads())));
    break;
  case 'time-loop': {
    const values = payloads();
    eachLine(() => round(values));
    break;
  }
  default:
    console.error('usage: node values.js random COUNT SEED | decode | time | time-loop');
    process.exitCode = 2;
}
