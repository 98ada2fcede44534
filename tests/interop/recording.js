'use strict';

// Records every frame that this process receives from a peer. The server, the leader's connections
// and the follower all decode through this one function, each frame once.

const Packet = require('cluster-client/lib/protocol/packet');

const KEPT = 10000;

class Recording {
  constructor() {
    this.count = 0;
    this._frames = [];
    const decode = Packet.decode;
    Packet.decode = buffer => {
      const packet = decode.call(Packet, buffer);
      this._add(packet);
      return packet;
    };
  }

  // What was received so far; it is kept, and told again the next time.
  report() {
    return { count: this.count, frames: this._frames.slice(-KEPT) };
  }

  _add({ id, isResponse, timeout, connObj, data }) {
    const appHex = data ? data.toString('hex') : '';
    this._frames.push({ id, isResponse, timeout, connObj, appHex, role: 'unknown' });
    this.count += 1;
    if (this._frames.length >= 2 * KEPT) {
      this._frames = this._frames.slice(-KEPT); // now and then: a shift of each frame costs more
    }
  }
}

module.exports = { Recording };
