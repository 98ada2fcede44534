'use strict';

// The real client in Node: what has one connection to a configuration centre, were there one.

const Base = require('sdk-base');

class ConfigClient extends Base {
  constructor(options) {
    super({ ...options, initMethod: '_init' });
    this._values = new Map([[ 'greeting', 'hello' ]]);
    this._listeners = new Map();
  }

  async _init() {} // would connect

  async getValue(key) {
    return this._values.get(key);
  }

  subscribe({ key }, listener) {
    this._listeners.set(key, [ ...(this._listeners.get(key) || []), listener ]);
    if (this._values.has(key)) listener(this._values.get(key));
  }

  publish({ key, value }) {
    this._values.set(key, value);
    for (const listener of this._listeners.get(key) || []) listener(value);
  }
}

module.exports = ConfigClient;
