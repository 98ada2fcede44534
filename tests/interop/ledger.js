'use strict';

// The twin of tests/support/ledger.py, on the same files: executions can be counted, whoever led.

const fs = require('fs');
const path = require('path');
const { setTimeout: sleep } = require('timers/promises');
const Base = require('sdk-base');

// As in tests/support/times.py.
const SCALE = Number(process.env.CLUSTER_CLIENT_TEST_SCALE || 1);
// Milliseconds that a call takes, so that many overlap, and die with the process.
const WORK = 5 * SCALE;

class Ledger extends Base {
  constructor(directory) {
    super({ initMethod: '_init' });
    this._executionsPath = path.join(directory, 'executions');
    this._sessionsPath = path.join(directory, 'sessions');
    this._valuePath = path.join(directory, 'value');
    this._listeners = [];
  }

  // Write the id down before anything else; resolves to the process that did it.
  async record(callId) {
    fs.writeSync(this._executions, `${callId}\n`); // one write with O_APPEND: entries never mix
    await sleep(WORK);
    return process.pid;
  }

  async pid() {
    return process.pid;
  }

  // Not async: the library drops the promise, and a failure would end the process anyway.
  publish(reg) {
    const written = `${this._valuePath}.${process.pid}`;
    fs.writeFileSync(written, String(reg.value));
    fs.renameSync(written, this._valuePath); // a reader, or a successor, finds a whole one
    for (const listener of this._listeners) {
      listener(reg.value);
    }
  }

  subscribe(reg, listener) { // there is one value, whatever is registered for
    this._listeners.push(listener);
    if (fs.existsSync(this._valuePath)) {
      listener(Number(fs.readFileSync(this._valuePath, 'utf8')));
    }
  }

  unSubscribe(reg, listener) {
    this._listeners = this._listeners.filter(other => other !== listener);
  }

  async _init() {
    this._executions = fs.openSync(this._executionsPath, 'a');
    this._sessions = fs.openSync(this._sessionsPath, 'a');
    this._noteSession('open');
  }

  // Called by sdk-base's close, once.
  async _close() {
    await sleep(WORK); // a successor that does not wait for it would show
    this._noteSession('close');
    fs.closeSync(this._executions);
    fs.closeSync(this._sessions);
    // A late call must fail: the number may soon be another file's.
    this._executions = this._sessions = undefined;
  }

  _noteSession(event) {
    fs.writeSync(this._sessions, `${event} ${process.pid}\n`);
  }
}

module.exports = { Ledger, SCALE, WORK };
