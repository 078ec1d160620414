import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ABSENT, fingerprint, outline } from '../../src/agent/fingerprint.js';
import { temporaryDirectory } from '../support/state.js';

function write(path: string, text = 'x'): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

/** A source as lbagent makes it. */
function generation(): string {
  const source = join(temporaryDirectory(), 'g');
  write(join(source, '00-haproxy.cfg'));
  write(join(source, 'lb.cfg'));
  write(join(source, 'acl-1'));
  write(join(source, 'certs/a.pem'));
  symlinkSync('lb.cfg', join(source, 'link.cfg'));
  return source;
}

/** The kernel's time of change has the grain of its tick. */
const tick = () => new Promise((resolve) => setTimeout(resolve, 20));

describe('the fingerprint', () => {
  it('is the same for the same files, whoever reads them', async () => {
    const source = generation();
    const first = await fingerprint([source]);
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    execFileSync('cat', [join(source, 'lb.cfg')]);
    expect(await fingerprint([source])).toBe(first);
    expect(await fingerprint([`${dirname(source)}/./g/`])).toBe(first);
  });

  const changes: readonly (readonly [what: string, change: (source: string) => void])[] = [
    ['a file is written in place', (source) => write(join(source, 'lb.cfg'), 'y')],
    ['the same length, and its old time put back', (source) => inPlaceWithOldTime(join(source, 'lb.cfg'))],
    ['a file is replaced by another of the same content', (source) => replace(join(source, 'lb.cfg'))],
    ['a file grows', (source) => truncateSync(join(source, 'acl-1'), 100)],
    ['a file comes, whatever its name', (source) => write(join(source, 'acl-2'))],
    ['a file goes', (source) => rmSync(join(source, 'certs/a.pem'))],
    ['a file is renamed', (source) => renameSync(join(source, 'acl-1'), join(source, 'acl-2'))],
    ['a certificate below is written', (source) => write(join(source, 'certs/a.pem'), 'z')],
    ['its mode', (source) => chmodSync(join(source, 'lb.cfg'), 0o600)],
    ['an empty directory comes', (source) => mkdirSync(join(source, 'errors'))],
    ['a symlink points elsewhere', (source) => relink(join(source, 'link.cfg'), 'acl-1')],
    ['what a symlink points to is written', (source) => write(join(source, 'lb.cfg'), 'more')],
    ['a symlink breaks', (source) => relink(join(source, 'link.cfg'), 'nothing')],
    ['a name that is not UTF-8', (source) => writeFileSync(bytes(source, [0xff, 0xfe]), '')],
    ['a name with a line feed', (source) => write(join(source, 'a\nb.cfg'))],
  ];

  // What is written in place shows where a symlink points to it, as to lb.cfg.
  const inPlace = /grows|certificate below is written/;
  it.each(changes)('the outline changes, or a watch tells: %s', async (what, change) => {
    const source = generation();
    const before = await outline([source]);
    await tick();
    change(source);
    const changed = (await outline([source])) !== before;
    expect(changed).toBe(!inPlace.test(what));
  });

  it.each(changes)('changes: %s', async (_, change) => {
    const source = generation();
    const before = await fingerprint([source]);
    await tick();
    change(source);
    expect(await fingerprint([source])).not.toBe(before);
  });

  it('changes with what a symlink outside of the source points to', async () => {
    const source = generation();
    const outside = write(join(dirname(source), 'outside.pem'));
    symlinkSync(outside, join(source, 'outside.pem'));
    const before = await fingerprint([source]);
    await tick();
    write(outside, 'other');
    expect(await fingerprint([source])).not.toBe(before);
  });

  it('tells two names that are not UTF-8 apart', async () => {
    const [one, other] = [generation(), generation()];
    writeFileSync(bytes(one, [0xff]), '');
    const before = await fingerprint([one]);
    renameSync(bytes(one, [0xff]), bytes(one, [0xfe]));
    expect(await fingerprint([one])).not.toBe(before);
    expect(await fingerprint([one, other])).not.toBe(await fingerprint([other, one]));
  });

  it('follows a source that is a symlink: another target is another fingerprint, back again the first', async () => {
    const [one, other] = [generation(), generation()];
    const link = join(temporaryDirectory(), 'haproxy.conf.d');
    symlinkSync(one, link);
    const first = await fingerprint([link]);
    expect(first).toBe(await fingerprint([one]));
    relink(link, other);
    expect(await fingerprint([link])).not.toBe(first);
    relink(link, one);
    expect(await fingerprint([link])).toBe(first);
  });

  it('is `absent` where a source is not there, or a loop of symlinks', async () => {
    const source = generation();
    const directory = dirname(source);
    expect(await fingerprint([source, join(directory, 'none')])).toBe(ABSENT);
    symlinkSync('b', join(directory, 'a'));
    symlinkSync('a', join(directory, 'b'));
    expect(await fingerprint([join(directory, 'a')])).toBe(ABSENT);
    expect(await fingerprint([join(source, 'lb.cfg', 'x')])).toBe(ABSENT);
  });

  it('does not descend into symlinks: no loop, and no way out', async () => {
    const source = generation();
    symlinkSync('.', join(source, 'self'));
    symlinkSync('/', join(source, 'root'));
    expect(await fingerprint([source])).toMatch(/^[0-9a-f]{64}$/);
  });

  it('opens no FIFO', async () => {
    const source = generation();
    execFileSync('mkfifo', [join(source, 'pipe.cfg')]);
    expect(await fingerprint([source])).toMatch(/^[0-9a-f]{64}$/);
  });

  it('refuses what is too deep', async () => {
    const source = generation();
    write(join(source, ...Array.from({ length: 17 }, () => 'd'), 'x'));
    await expect(fingerprint([source])).rejects.toMatchObject({ code: 'BERTH_CONFIG_TOO_LARGE' });
  });
});

function inPlaceWithOldTime(path: string): void {
  const { atime, mtime } = statSync(path);
  writeFileSync(path, 'y');
  utimesSync(path, atime, mtime);
}

function replace(path: string): void {
  renameSync(write(`${path}.new`), path);
}

function relink(path: string, target: string): void {
  rmSync(path);
  symlinkSync(target, path);
}

function bytes(directory: string, name: readonly number[]): Buffer {
  return Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(name)]);
}
