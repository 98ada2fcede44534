'use strict';

// The facade that an Egg plugin would export: its users don't see who leads.

const { APIClientBase } = require('cluster-client');
const ConfigClient = require('./config_client');

class ConfigApi extends APIClientBase {
  get DataClient() {
    return ConfigClient;
  }

  get clusterOptions() {
    return { name: 'config' };
  }

  getValue(key) {
    return this._client.getValue(key);
  }

  subscribe(reg, listener) {
    this._client.subscribe(reg, listener);
  }

  publish(reg) {
    this._client.publish(reg);
  }
}

module.exports = ConfigApi;
