// Loaded into the Kinesis emulator before its own code: it has no setting for an address, so whatever it wants to
// listen on becomes a port of 127.0.0.1.
"use strict";
const { Server } = require("node:net");

const listen = Server.prototype.listen;
Server.prototype.listen = function (where, ...more) {
  const { port } = typeof where === "object" ? where : { port: where };
  const onListening = more.find((argument) => typeof argument === "function");
  return listen.call(this, { port, host: "127.0.0.1" }, onListening);
};
