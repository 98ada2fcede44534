'use strict';

// Clients made from what the test says, in Python's names and seconds.

const cluster = require('cluster-client');
const { RegistryApi, clusterFactory } = require('./facade');
const { Ledger } = require('./ledger');
const { Registry } = require('./registry');

const REAL_CLIENTS = { ledger: Ledger, registry: Registry };

const seconds = value => (typeof value === 'number' ? value * 1000 : value);
const same = value => value;

// Those of Python that Node has, too. Others are refused: ignored ones would make tests lie.
const OPTIONS = {
  port: [ 'port', same ],
  is_leader: [ 'isLeader', same ],
  max_wait_time: [ 'maxWaitTime', seconds ],
  connect_timeout: [ 'connectTimeout', seconds ],
  response_timeout: [ 'responseTimeout', seconds ],
  heartbeat_interval: [ 'heartbeatInterval', seconds ],
  subscribe_timeout: [ 'subscribeTimeout', seconds ],
  check_heartbeat: [ 'isCheckHeartbeat', same ],
  auto_generate: [ 'autoGenerate', same ],
  is_broadcast: [ 'isBroadcast', same ],
  single_mode: [ 'singleMode', same ],
};

const KINDS = {
  invoke: 'invoke',
  invoke_oneway: 'invokeOneway',
  subscribe: 'subscribe',
  unsubscribe: 'unSubscribe',
  publish: 'publish',
  close: 'close',
};

// What Egg's app.cluster knows better than the facade.
const OF_THE_APPLICATION = [ 'port', 'isLeader', 'logger' ];

// Returns a client that is not ready yet.
function createClient({ channel, real, args, delegates, options, logger }) {
  const nodeOptions = { ...mapOptions(options), name: channel, logger };
  const nodeDelegates = mapDelegates(delegates);
  if (real === 'facade') {
    return createFacade(nodeOptions, nodeDelegates, args[0]);
  }
  if (!Object.hasOwn(REAL_CLIENTS, real)) {
    throw new RangeError(`there is no real client ${real} in Node`);
  }
  const builder = cluster(REAL_CLIENTS[real], nodeOptions);
  for (const [ method, kind ] of Object.entries(nodeDelegates)) {
    builder.delegate(method, kind);
  }
  return builder.create(...args);
}

function createFacade(options, delegates, registryOptions) {
  const isOfTheApplication = ([ name ]) => OF_THE_APPLICATION.includes(name);
  const entries = Object.entries(options);
  return new RegistryApi({
    ...registryOptions,
    cluster: clusterFactory(Object.fromEntries(entries.filter(isOfTheApplication))),
    clusterOptions: Object.fromEntries(entries.filter(entry => !isOfTheApplication(entry))),
    delegates,
  });
}

// Returns the library's own client, which a facade has inside.
function innermost(client) {
  return client instanceof RegistryApi ? client._client : client;
}

function mapOptions(options) {
  return Object.fromEntries(Object.entries(options).map(([ name, value ]) => {
    if (!Object.hasOwn(OPTIONS, name)) {
      throw new RangeError(`Node has no option ${name}`);
    }
    const [ nodeName, convert ] = OPTIONS[name];
    return [ nodeName, convert(value) ];
  }));
}

// Whether a call may be repeated is no question in Node: it never is.
function mapDelegates(delegates) {
  return Object.fromEntries(Object.entries(delegates).map(([ method, settings ]) => {
    const { kind = 'invoke', idempotent, ...others } = settings;
    if (!Object.hasOwn(KINDS, kind) || Object.keys(others).length > 0) {
      throw new RangeError(`Node has no such delegate: ${JSON.stringify(settings)}`);
    }
    return [ method, KINDS[kind] ];
  }));
}

module.exports = { createClient, innermost };
