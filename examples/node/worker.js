'use strict';

// One of Egg's application workers in Node: it follows. Usage: node worker.js PORT [VALUE]

const cluster = require('cluster-client');
const ConfigApi = require('./config_api');

const port = Number(process.argv[2] || 7777);
const value = process.argv[3];

// What Egg gives to its workers as app.cluster.
const app = {
  cluster: (clientClass, options) => cluster(clientClass, { ...options, port, isLeader: false }),
};

async function main() {
  const config = new ConfigApi({ cluster: app.cluster });
  await config.ready();
  console.log('node %d follows, the greeting is %s', process.pid, await config.getValue('greeting'));
  config.subscribe({ key: 'greeting' }, got => console.log('node %d got %s', process.pid, got));
  if (value) config.publish({ key: 'greeting', value });
  process.once('SIGTERM', () => config.close().then(() => process.exit(0)));
}

main();
