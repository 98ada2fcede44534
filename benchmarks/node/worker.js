'use strict';

// The twin of ../worker.py and ../drivers/ours.py: a process with the original of the library.

const fs = require('fs');
const path = require('path');
const readline = require('readline');
const { setImmediate: immediately, setTimeout: sleep } = require('timers/promises');
const { createRequire } = require('module');

// The peers are installed into a folder of their own: see ../install.py.
const modules = path.join(__dirname, '..', '.env', 'node_modules');
process.env.NODE_PATH = modules;
require('module').Module._initPaths();
const cluster = createRequire(path.join(modules, 'x'))('cluster-client');
const { Real } = require('./real');
const { PAYLOADS, SMALL, checker, isSmall } = require('./workload');

const REG = { path: '/benchmark' };
const JSON_TRANSCODE = {
  // JSON has no undefined, which is what a method without a result returns.
  encode: value => Buffer.from(JSON.stringify(value === undefined ? null : value)),
  decode: data => JSON.parse(data),
};
const logger = { debug() {}, info() {}, warn() {}, error: console.error, write() {} };
const transcode = process.argv[2] === 'node-json' ? { transcode: JSON_TRANSCODE } : {};
const now = () => Number(process.hrtime.bigint()) / 1e9;

const connections = [];
const failover = { leader: 0, since: 0, calls: 0, failed: 0, news() {} };

const commands = {
  async serve({ port }) {
    await open(port, { isLeader: true });
  },

  async connect({ port, count }) {
    for (let i = 0; i < count; i++) {
      connections.push(await open(port, { isLeader: false }));
    }
  },

  async load({ value: name, in_flight: inFlight, seconds, latencies: wanted = false }) {
    const value = PAYLOADS[name]();
    const isRight = checker(name);
    const latencies = [];
    let operations = 0;
    const begin = now();
    const end = begin + seconds;
    const call = async number => {
      let before = now();
      for (let i = number; ; i = (i + inFlight) % connections.length) {
        const answer = await connections[i % connections.length].echo(value);
        if (!isRight(answer)) {
          throw new Error(`wrong answer: ${JSON.stringify(answer).slice(0, 200)}`);
        }
        operations += 1;
        const after = now();
        if (wanted) {
          latencies.push(after - before);
        }
        if (after >= end) {
          return;
        }
        before = after;
      }
    };
    await Promise.all(Array.from({ length: inFlight }, (_, number) => call(number)));
    return { operations, seconds: now() - begin, latencies };
  },

  async expect({ burst }) {
    const all = connections.length * burst;
    let missing = all;
    for (const connection of connections) {
      let expected = 0;
      connection.subscribe(REG, value => {
        if (!isSmall(value, expected)) {
          throw new Error(`value ${expected} is ${JSON.stringify(value)}`);
        }
        expected += 1;
        missing -= 1;
        if (missing === 0) {
          missing = all;
          connections[0].arrived();
        }
      });
      await connection.echo(null); // subscribe tells nobody when it is done, but calls come after it
    }
  },

  async publish({ processes, burst, seconds }) {
    let bursts = 0;
    const begin = now();
    while (now() - begin < seconds) {
      await Real.leading.publishBurst(burst, processes);
      bursts += 1;
    }
    return { bursts, seconds: now() - begin };
  },

  async contend({ port }) {
    callOnAndOn(await open(port, {}));
  },

  async leader({ other_than: otherThan }) {
    while (failover.leader === 0 || failover.leader === otherThan) {
      await new Promise(resolve => { failover.news = resolve; });
    }
    const { leader, since, calls, failed } = failover;
    return { pid: leader, since, calls, failed };
  },
};

async function open(port, options) {
  const client = cluster(Real, { port, logger, ...transcode, ...options })
    .delegate('echo').delegate('whoami').delegate('arrived').create();
  client.on('error', () => {}); // what a call or a subscriber gets is looked at there
  await client.ready();
  return client;
}

async function callOnAndOn(client) {
  for (;;) {
    failover.calls += 1;
    try {
      const [ pid, value ] = await client.whoami(SMALL);
      if (!isSmall(value, SMALL.id)) {
        throw new Error('wrong answer');
      }
      if (pid !== failover.leader) {
        failover.leader = pid;
        failover.since = now();
        failover.news();
      }
      await immediately(); // a leader's own calls never leave it to the event loop to go on
    } catch {
      failover.failed += 1;
      await sleep(1); // while there is no leader, calls may fail at once
    }
  }
}

function answer(message) {
  fs.writeSync(1, `${JSON.stringify(message)}\n`);
}

async function main() {
  answer({ result: 'ready' });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { command, ...args } = JSON.parse(line);
    try {
      answer({ result: (await commands[command](args)) ?? null });
    } catch (error) {
      console.error(error);
      answer({ error: `${error.name}: ${error.message}` });
    }
  }
  process.exit(0);
}

main();
