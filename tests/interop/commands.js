'use strict';

// What a test can have done: each public method is a command, with the names and arguments of
// those in tests/support/worker.py. Values are tagged on their way from and to the test.

const { isDeepStrictEqual, promisify } = require('util');
const { createClient, innermost } = require('./clients');
const { Load } = require('./load');
const { tag, untag } = require('./tagged');

const INVOKE = Symbol.for('ClusterClient#invoke');
const IS_READY = Symbol.for('ClusterClient#isReady');
const CLOSE = Symbol.for('ClusterClient#close');

class Commands {
  // `end` ends the process once the last answer is out.
  constructor({ logger, recording, end }) {
    this._logger = logger;
    this._recording = recording;
    this._end = end;
    this._channels = new Map(); // name => Channel
  }

  // A client that does not become ready stays open, as it does in its users' processes.
  async open({ channel, real, arguments: args, keywords, delegates, options }) {
    if (this._channels.has(channel)) {
      await this.close({ channel });
    }
    const client = createClient({
      channel,
      real,
      args: untag(withKeywords(args, keywords)),
      delegates,
      options,
      logger: this._logger,
    });
    this._channels.set(channel, new Channel(client));
    await client.ready();
  }

  async close({ channel }) {
    const { client } = this._channel(channel);
    this._channels.delete(channel);
    await (innermost(client) === client ? client[CLOSE]() : client.close());
  }

  async exit() {
    await this.closeAll();
    this._end();
  }

  async closeAll() {
    for (const channel of [ ...this._channels.keys() ]) {
      await this.close({ channel });
    }
  }

  state({ channel }) {
    const client = innermost(this._channel(channel).client);
    const isLeader = Boolean(client.isClusterClientLeader);
    const state = client[IS_READY] ? (isLeader ? 'leading' : 'following') : 'electing';
    return { is_leader: isLeader, epoch: null, state, resent: 0 };
  }

  // What its 'error' events told, which in a program without a listener would go to its log.
  errors({ channel }) {
    return this._channel(channel).errors.map(describe);
  }

  async call({ channel, method, arguments: args }) {
    return tag(await this._channel(channel).client[method](...untag(args)));
  }

  // A call of any method, delegated or not, as a follower could be made to make it.
  async invoke({ channel, method, arguments: args }) {
    const client = innermost(this._channel(channel).client);
    return tag(await promisify(client[INVOKE].bind(client))(method, untag(args)));
  }

  // What a method that is delegated as invokeOneway does; here any method can be called so.
  oneway({ channel, method, arguments: args }) {
    innermost(this._channel(channel).client)[INVOKE](method, untag(args));
  }

  publish({ channel, reg }) {
    this._channel(channel).client.publish(untag(reg));
  }

  subscribe({ channel, reg }) {
    const { client, values } = this._channel(channel);
    values.restart();
    client.subscribe(untag(reg), value => values.add(value));
  }

  unsubscribe({ channel, reg }) {
    this._channel(channel).client.unSubscribe(untag(reg));
  }

  values({ channel }) {
    return tag(this._channel(channel).values.all);
  }

  // Wait until the value is the last one that the listener got; returns all that it got.
  async values_until({ channel, value }) {
    const { values } = this._channel(channel);
    await values.until(untag(value));
    return tag(values.all);
  }

  // Every frame from a peer, of all clients of this process.
  received() {
    return this._recording.report();
  }

  begin_load({ channel, callers }) {
    const of = this._channel(channel);
    of.load = new Load(of.client, `${channel}.${process.pid}.${of.loads++}`);
    of.load.begin(callers);
  }

  load_report({ channel }) {
    return this._channel(channel).load.report();
  }

  end_load({ channel }) {
    return this._channel(channel).load.end();
  }

  first_answer_of({ channel, leader }) {
    return this._channel(channel).load.firstAnswerOf(leader);
  }

  first_answer_since({ channel, moment }) {
    return this._channel(channel).load.firstAnswerSince(moment);
  }

  _channel(name) {
    if (!this._channels.has(name)) {
      throw new RangeError(`no client of ${name} is open`);
    }
    return this._channels.get(name);
  }
}

// An open client, and what is remembered of it.
class Channel {
  constructor(client) {
    this.client = client;
    this.errors = [];
    this.values = new Values();
    this.load = null;
    this.loads = 0;
    client.on('error', error => this.errors.push(error));
  }
}

// What a listener got.
class Values {
  constructor() {
    this._waiting = [];
    this.restart();
  }

  restart() {
    this.all = [];
  }

  add(value) {
    this.all.push(value);
    this._waiting.splice(0).forEach(tell => tell());
  }

  async until(value) {
    while (this.all.length === 0 || !isDeepStrictEqual(this.all.at(-1), value)) {
      await new Promise(resolve => this._waiting.push(resolve));
    }
  }
}

// JavaScript has no keyword arguments, but a last one with options.
function withKeywords(args, keywords) {
  return Object.keys(keywords).length > 0 ? [ ...args, keywords ] : args;
}

// An error for the test; whatever was thrown.
function describe(thrown) {
  const error = thrown instanceof Error ? thrown : new Error(`not an Error: ${thrown}`);
  const { name, message, stack, ...fields } = error;
  const attributes = Object.entries(fields).map(([ key, value ]) => {
    try {
      return [ key, tag(value) ];
    } catch {
      return [ key, String(value) ];
    }
  });
  return {
    type: String(error.name),
    arguments: [ error.message ],
    attributes: Object.fromEntries(attributes),
    traceback: String(error.stack),
  };
}

module.exports = { Commands, describe };
