/**
 * Loads one addon and lets it work: node addon-smoke.mjs FILE, in a network namespace of its own. Nothing but
 * Node-API is asked for, so that any runtime for any C library can run it. Ends with `addon works`.
 */
import assert from 'node:assert';
import { createRequire } from 'node:module';
import { basename, resolve } from 'node:path';
import process from 'node:process';

const file = resolve(process.argv[2]);
const addon = createRequire(import.meta.url)(file);

assert.equal(addon.errnoName(98), 'EADDRINUSE');
const [id, inode] = await addon.openNamespace(null);
assert(inode > 0);

// tcp and udp at 0.0.0.0:58824: the first bind keeps the ports, the second finds that of udp taken.
const endpoints = new Uint32Array([0, 0, 58824, 0, 0, 58824 | (1 << 16)]);
const first = await addon.probe(id, ['0.0.0.0'], [], endpoints, true, false);
assert(first.words[1] >= 0 && first.words[5] >= 0, `no descriptors: ${first.words.join(' ')} ${first.syscalls}`);
const second = await addon.probe(id, ['0.0.0.0'], [], endpoints, false, false);
assert.equal(second.words[6], 98);
addon.closeDescriptors(Int32Array.of(first.words[1], first.words[5]));
const third = await addon.probe(id, ['0.0.0.0'], [], endpoints, false, false);
assert.deepEqual([third.words[0], third.words[4]], [0, 0]);

assert.match(await addon.readSysctl(id, '/proc/sys/net/ipv4/ip_local_port_range'), /^\d+\s+\d+/);
await assert.rejects(addon.readSysctl(id, '/proc/sys/no/such'), { code: 'ENOENT', syscall: 'open' });
await addon.closeNamespace(id);
const { node, bun } = process.versions;
console.log(`addon works: ${basename(file)} ${process.arch} ${bun ? `bun ${bun}` : `node ${node}`}`);
