'use strict';

// The twin of tests/support/load.py: callers that call without a pause, and what came of it.

const { setTimeout: sleep } = require('timers/promises');
const { WORK } = require('./ledger');

const CONNECTION_LOST = new Set([ 'ECONNRESET', 'EPIPE', 'ECONNREFUSED' ]);

class Load {
  constructor(client, prefix) {
    this._client = client;
    this._prefix = prefix;
    this._lastNumber = 0;
    this._report = {
      returned: [], unknown: [], failed: [], in_flight: 0, resent: 0, longest: 0,
    };
    this._stopping = false;
    this._waiting = []; // told of the first answer of each leader
    this._firstAnswers = new Map(); // pid => when
  }

  begin(callers) {
    this._ended = Promise.all(Array.from({ length: callers }, () => this._callOnAndOn()));
  }

  async end() {
    this._stopping = true;
    await this._ended;
    return this._report;
  }

  report() {
    return this._report;
  }

  async firstAnswerOf(leader) {
    while (!this._firstAnswers.has(leader)) {
      await this._news();
    }
    return this._firstAnswers.get(leader);
  }

  async firstAnswerSince(moment) {
    for (;;) {
      for (const [ leader, answered ] of this._firstAnswers) {
        if (answered > moment) {
          return [ leader, answered ];
        }
      }
      await this._news();
    }
  }

  _news() {
    return new Promise(resolve => this._waiting.push(resolve));
  }

  // A caller ends with its first error that the test does not count on.
  async _callOnAndOn() {
    const report = this._report;
    while (!this._stopping && report.failed.length === 0) {
      const callId = `${this._prefix}.${this._lastNumber++}`;
      const begin = monotonic();
      report.in_flight += 1;
      try {
        this._noteAnswer(await this._client.record(callId));
        report.returned.push(callId);
      } catch (error) {
        if (isConnectionLost(error)) {
          report.unknown.push(callId);
          await sleep(WORK); // while there is no leader, the library may reject calls at once
        } else {
          report.failed.push(`${callId}: ${error}`);
        }
      }
      report.in_flight -= 1;
      report.longest = Math.max(report.longest, monotonic() - begin);
    }
  }

  _noteAnswer(leader) {
    if (!this._firstAnswers.has(leader)) {
      this._firstAnswers.set(leader, monotonic());
      this._waiting.splice(0).forEach(tell => tell());
    }
  }
}

// Node has no error of its own for it. This is what calls get whose connection broke, executed or
// not, and those that waited for a leader that could not be connected to: where two followers
// listen in the same moment, the kernel may refuse both, and each takes the other for the leader.
function isConnectionLost(error) {
  return error.name === 'SocketCloseError' || CONNECTION_LOST.has(error.code) ||
    String(error.message).startsWith('[TCPBase] The socket was closed');
}

// On the clock of Python's time.monotonic().
function monotonic() {
  return Number(process.hrtime.bigint()) / 1e9;
}

module.exports = { Load };
