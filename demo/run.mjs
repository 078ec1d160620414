/** Starting programs and talking to the demo's workers. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

/**
 * Run a program to its end. Output goes to files, not to pipes: a HAProxy that becomes a daemon would hold a pipe open.
 * @param {string[]} command
 * @param {string} log path without its suffix: `.out` receives stdout, `.err` stderr
 * @returns {Promise<{ status: number, seconds: number, stdout: string, stderr: string }>}
 */
export function run(command, log) {
  const [program = '', ...args] = command;
  const out = openSync(`${log}.out`, 'w');
  const err = openSync(`${log}.err`, 'w');
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', out, err] });
    closeSync(out);
    closeSync(err);
    child.on('error', reject);
    child.on('exit', (code) => {
      const [stdout, stderr] = ['out', 'err'].map((suffix) => readFileSync(`${log}.${suffix}`, 'utf8').trim());
      resolve({
        status: code ?? 255,
        seconds: (performance.now() - began) / 1000,
        stdout: stdout ?? '',
        stderr: stderr ?? '',
      });
    });
  });
}

/**
 * As {@link run}, and a failure is an error.
 * @param {string[]} command
 * @param {string} log
 */
export async function must(command, log) {
  const done = await run(command, log);
  if (done.status !== 0) throw new Error(`${command.join(' ')}: exit status ${done.status}\n${done.stderr}`);
  return done;
}

/**
 * Start one of the workers beside this file, with an IPC channel.
 * @param {string} file
 * @param {string[]} prefix what runs it, e.g. `nsenter --net=…`
 */
export function worker(file, prefix = []) {
  const [program = process.execPath, ...args] = [
    ...prefix,
    process.execPath,
    fileURLToPath(new URL(file, import.meta.url)),
  ];
  const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  child.on('error', (error) => {
    throw error;
  });
  return child;
}

/**
 * The next message of a worker that `wanted` accepts.
 * @param {import('node:child_process').ChildProcess} child
 * @param {(message: any) => boolean} wanted
 * @returns {Promise<any>}
 */
export function heard(child, wanted) {
  return new Promise((resolve, reject) => {
    const ended = () => reject(new Error(`a worker of the demo ended: ${child.spawnargs.join(' ')}`));
    const listen = (/** @type {any} */ message) => {
      if (!wanted(message)) return;
      child.off('message', listen);
      child.off('exit', ended);
      resolve(message);
    };
    child.on('message', listen);
    child.once('exit', ended);
  });
}

let asked = 0;

/**
 * Ask a worker something and wait for its answer.
 * @param {import('node:child_process').ChildProcess} child
 * @param {Record<string, unknown>} message
 */
export async function ask(child, message) {
  asked += 1;
  const id = asked;
  const answer = heard(child, (reply) => reply.id === id);
  child.send({ id, ...message });
  const reply = await answer;
  if (reply.error) throw new Error(reply.error);
  return reply;
}
