'use strict';

// A class around the registry's client, as Egg's plugins write one, and the factory that Egg's
// applications put into it.

const cluster = require('cluster-client');
const { Registry } = require('./registry');

const { APIClientBase } = cluster;

// Options: clusterOptions, delegates, cluster, and those of the registry.
class RegistryApi extends APIClientBase {
  get DataClient() {
    return Registry;
  }

  get clusterOptions() {
    return this.options.clusterOptions;
  }

  get delegates() {
    return this.options.delegates;
  }
}

// The base class generates no method: authors of a facade write them, each like this.
const methods = Object.getOwnPropertyNames(Registry.prototype)
  .filter(name => name !== 'constructor' && !name.startsWith('_'));
for (const name of methods) {
  RegistryApi.prototype[name] = function(...args) {
    return this._client[name](...args);
  };
}

// Returns what Egg calls app.cluster: it knows the port, the role and the log.
function clusterFactory(defaults) {
  return (clientClass, options) => cluster(clientClass, { ...options, ...defaults });
}

module.exports = { RegistryApi, clusterFactory };
