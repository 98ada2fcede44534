'use strict';

// Egg's agent process in Node: it leads. Usage: node agent.js PORT

const cluster = require('cluster-client');
const ConfigApi = require('./config_api');

const port = Number(process.argv[2] || 7777);

// What Egg gives to its agent as agent.cluster.
const agent = {
  cluster: (clientClass, options) => cluster(clientClass, { ...options, port, isLeader: true }),
};

async function main() {
  const config = new ConfigApi({ cluster: agent.cluster });
  await config.ready();
  console.log('node %d leads', process.pid);
  config.subscribe({ key: 'greeting' }, value => console.log('node %d got %s', process.pid, value));
  process.once('SIGTERM', () => config.close().then(() => process.exit(0)));
}

main();
