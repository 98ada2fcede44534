'use strict';

// The twin of tests/support/worker.py, with the original of the library: it has clients, and does
// with them what the test says.
//
// Its standard input is a socket to the test, and each line on it a command or its answer, as
// there. It ends, and closes its clients, with the command exit, with SIGTERM, or when the test
// has gone.

const fs = require('fs');
const net = require('net');
const util = require('util');
const { Recording } = require('./recording'); // before the library reads its decoder
const { Commands, describe } = require('./commands');
const { SCALE } = require('./ledger');

const CLOSE_LIMIT = 10000 * SCALE;

// Whatever is not caught ends the process, and shows: the test looks for lines without a brace.
for (const event of [ 'uncaughtException', 'unhandledRejection' ]) {
  process.on(event, error => die(`${event}: ${util.inspect(error)}`));
}

const control = new net.Socket({ fd: 0, readable: true, writable: true });
const commands = new Commands({
  logger: logger(),
  recording: new Recording(),
  end: () => setImmediate(() => control.end(() => process.exit(0))), // the answer goes first
});

let ending = false;
let rest = [];

control.on('data', chunk => {
  for (let end; (end = chunk.indexOf('\n')) >= 0; chunk = chunk.subarray(end + 1)) {
    const line = Buffer.concat([ ...rest, chunk.subarray(0, end) ]);
    rest = [];
    answer(JSON.parse(line));
  }
  rest.push(chunk);
});
control.on('error', endOrderly); // the test was killed
control.on('close', endOrderly);
process.on('SIGTERM', endOrderly);

async function answer({ id, command, arguments: args }) {
  let reply;
  try {
    if (command === 'exit') {
      limitClosing();
    }
    reply = { id, result: (await commands[command](args)) ?? null };
  } catch (error) {
    reply = { id, error: describe(error) };
  }
  if (control.writable) {
    control.write(`${JSON.stringify(reply)}\n`);
  }
}

async function endOrderly() {
  if (!ending) {
    limitClosing();
    await commands.closeAll();
    process.exit(0);
  }
}

// The library waits for a leader before it closes, as long as there is none.
function limitClosing() {
  ending = true;
  setTimeout(() => die(`clients did not close within ${CLOSE_LIMIT} ms`), CLOSE_LIMIT).unref();
}

function die(reason) {
  fs.writeSync(2, `${reason}\n`);
  process.exit(1);
}

function logger() {
  const write = level => (...args) => {
    process.stdout.write(`${JSON.stringify({ event: util.format(...args), level })}\n`);
  };
  return Object.fromEntries([ 'debug', 'info', 'warn', 'error' ].map(level => [ level, write(level) ]));
}
