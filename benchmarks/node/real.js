'use strict';

// The twin of Real in ../drivers/ours.py.

const Base = require('sdk-base');
const { numbered } = require('./workload');

class Real extends Base {
  constructor() {
    super();
    Real.leading = this;
    this._listeners = [];
    this._published = 0;
    this._arrived = 0;
    this._news = () => {};
    this.ready(true);
  }

  async echo(value) {
    return value;
  }

  async whoami(value) {
    return [ process.pid, value ];
  }

  subscribe(reg, listener) {
    this._listeners.push(listener);
  }

  async arrived() {
    this._arrived += 1;
    this._news();
  }

  async publishBurst(burst, processes) {
    this._arrived = 0;
    for (let i = 0; i < burst; i++) {
      const value = numbered(this._published++);
      for (const listener of this._listeners) {
        listener(value);
      }
    }
    while (this._arrived < processes) {
      await new Promise(resolve => { this._news = resolve; });
    }
  }
}

module.exports = { Real };
