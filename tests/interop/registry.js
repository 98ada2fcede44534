'use strict';

// A real client in memory, with a method for each kind of answer, value and error.
//
// A leader calls each method with one argument more than its caller gave: the callback.

const { setTimeout: sleep } = require('timers/promises');
const Base = require('sdk-base');

class BoomError extends Error {
  constructor(message, code) {
    super(message);
    this.name = 'BoomError';
    this.code = code;
  }
}

// Options: failStart, the message of the error that it does not start with; startDelay, in ms.
class Registry extends Base {
  constructor({ failStart, startDelay } = {}) {
    super({ initMethod: '_init', failStart, startDelay });
    this._data = new Map();
    this._listeners = new Map(); // key => Set of listeners
    this._notes = [];
    this._calls = { subscribe: 0, unSubscribe: 0, publish: 0 };
  }

  async pid() {
    return process.pid;
  }

  async getData(key) {
    return this._data.get(key);
  }

  async setData(key, value) {
    this._set(key, value);
  }

  async echo(value) {
    return value;
  }

  async nothing() {}

  async fail(message, code) {
    throw new BoomError(message, typeof code === 'function' ? undefined : code);
  }

  async slow(ms, value) {
    await sleep(ms);
    return value;
  }

  async count() {
    return this._data.size;
  }

  // Meant for oneway: there is no answer to see that it was executed.
  async note(value) {
    this._notes.push(value);
  }

  async notes() {
    return this._notes;
  }

  // How often the upstream was subscribed to, and so on.
  async calls() {
    return this._calls;
  }

  // One value of each kind that the codec knows, and those on its edges.
  async values() {
    return {
      buffer: Buffer.from([ 0, 1, 127, 128, 255 ]),
      emptyBuffer: Buffer.alloc(0),
      date: new Date(1700000000123),
      error: new BoomError('as a value', 'E_VALUE'),
      undefined: { inside: undefined, list: [ undefined, null ] },
      true: true,
      false: false,
      null: null,
      empty: { string: '', list: [], object: {} },
      text: 'a b+c|d^e%f\u00fc\u{1f600}\n',
      integers: [ 0, 1, -1, 35, 36, 2 ** 31, -(2 ** 31), 2 ** 53, 1e21 ],
      minusZero: -0,
      floats: [ 0.1 + 0.2, 1.5, -2.25, 1e-7, 5e-324 ],
      nan: NaN,
      infinities: [ Infinity, -Infinity ],
    };
  }

  publish(reg) {
    this._calls.publish += 1;
    this._set(keyOf(reg), reg.value);
  }

  subscribe(reg, listener) {
    this._calls.subscribe += 1;
    const key = keyOf(reg);
    const listeners = this._listeners.get(key) || new Set();
    this._listeners.set(key, listeners.add(listener));
    if (this._data.has(key)) {
      listener(this._data.get(key));
    }
  }

  unSubscribe(reg, listener) {
    this._calls.unSubscribe += 1;
    const listeners = this._listeners.get(keyOf(reg)) || new Set();
    listeners.delete(listener);
  }

  async _init() {
    const { failStart, startDelay } = this.options;
    await sleep(startDelay || 0);
    if (failStart) {
      throw new BoomError(failStart, 'E_START');
    }
  }

  async _close() {
    this._listeners.clear();
  }

  _set(key, value) {
    this._data.set(key, value);
    for (const listener of this._listeners.get(key) || []) {
      listener(value);
    }
  }
}

// A path or a key may have a value beside it, as what is published has.
function keyOf(reg) {
  return reg.path ?? reg.key ?? JSON.stringify(reg);
}

module.exports = { BoomError, Registry };
