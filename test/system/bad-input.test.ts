/**
 * What bad input gets: a code and a message that names file, line and what; and nothing has changed, neither the state
 * directory nor what is reserved, what listens and who runs.
 */
import { chmodSync, closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openBerth, type Berth } from '../../src/berth.js';
import { Lab, cannotRun, configuration, haproxyBinaries, type HAProxyBinary } from '../support/haproxy.js';
import { generations, serving } from '../support/unchanged.js';

const why = cannotRun();
const steady = ['127.0.0.1:8001', '127.0.0.1:8002'];
const pathOf = (all: readonly HAProxyBinary[]) => (all.find(({ version }) => version !== '2.2') ?? all[0])?.path ?? '';
const like = (pattern: RegExp) => expect.stringMatching(pattern) as string;

// What Berth says of bad input does not depend on HAProxy's version: the first one there is. Not 2.2 where there is another:
// it takes a range that runs backwards for an empty one.
describe.skipIf(why !== undefined)('bad input', () => {
  const path = why === undefined ? pathOf(haproxyBinaries()) : '';
  let lab: Lab;
  const opened: Berth[] = [];
  const servers: Server[] = [];
  beforeEach(async () => {
    lab = await Lab.open();
    await (await open()).reload([lab.write('haproxy.cfg', configuration(steady))]);
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) server.close();
    for (const berth of opened.splice(0)) await berth.close();
    await lab.close();
  });

  const open = async (settings: Record<string, unknown> = {}): Promise<Berth> => {
    const { haproxy = {}, ...others } = settings as { haproxy?: object };
    const berth = await openBerth({
      settings: { stateDir: lab.path('state'), netns: lab.netns, haproxy: { binary: path, ...haproxy }, ...others },
      environment: {},
    });
    opened.push(berth);
    return berth;
  };

  /** Everything there is to see; of the journal and the generations only where nothing was staged. */
  const everything = async (staged: boolean) => ({
    ...(await serving(lab)),
    ...(staged ? {} : { generations: generations(lab), journal: readFileSync(lab.path('state', 'journal'), 'utf8') }),
  });

  /** `reload` and `preflight` both refuse it (or preflight tells), with this error; a reload changes nothing. */
  const expectRefused = async (
    targets: readonly string[],
    error: { readonly code: string; readonly message?: string; readonly details?: object },
    options: { readonly settings?: Record<string, unknown>; readonly staged?: boolean } = {},
  ) => {
    const before = await everything(options.staged ?? false);
    const berth = await open(options.settings);
    await expect(berth.reload(targets)).rejects.toMatchObject(error);
    expect(await everything(options.staged ?? false)).toEqual(before);
    if (options.staged !== true) {
      await expect(berth.preflight(targets)).rejects.toMatchObject(error);
      expect(await everything(false)).toEqual(before);
    }
  };

  describe('configuration', () => {
    test('a path that does not exist', () =>
      expectRefused([lab.path('none.cfg')], { code: 'BERTH_CONFIG_UNREADABLE', message: like(/none\.cfg/) }));

    test.each([
      ['a pipe', () => lab.exec('mkfifo', [lab.path('odd.cfg')])],
      ['a device', () => lab.exec('mknod', [lab.path('odd.cfg'), 'c', '1', '5'])],
      ['a socket', () => stranger('odd.cfg')],
      ['a symlink to itself', () => lab.exec('ln', ['-s', lab.path('odd.cfg'), lab.path('odd.cfg')])],
    ])('%s instead of a file', async (_, make) => {
      await make();
      await expectRefused([lab.path('odd.cfg')], { code: 'BERTH_CONFIG_UNREADABLE', message: like(/odd\.cfg/) });
    });

    test.each([
      ['an empty file', ''],
      ['a file of comments', '# nothing\n\n   # here\n'],
    ])('%s', (_, text) =>
      expectRefused([lab.write('empty.cfg', text)], { code: 'BERTH_CONFIG_EMPTY', message: like(/empty\.cfg/) }),
    );

    test('an empty directory', async () => {
      mkdirSync(lab.path('conf.d'));
      writeFileSync(lab.path('conf.d/readme.txt'), 'listen x\n');
      await expectRefused([lab.path('conf.d')], { code: 'BERTH_CONFIG_EMPTY', message: like(/conf\.d/) });
    });

    test('binary junk', async () => {
      const junk = lab.path('junk.cfg');
      writeFileSync(junk, Buffer.from(Array.from({ length: 20_000 }, (_, at) => (at * 7919 + (at >> 3) * 31) % 256)));
      await expectRefused([junk], { code: like(/^BERTH_CONFIG_(UNREADABLE|SYNTAX)$/), message: like(/junk\.cfg/) });
    });

    test('a file of 100 MB', async () => {
      const file = openSync(lab.path('huge.cfg'), 'w');
      ftruncateSync(file, 100 * 1024 * 1024);
      closeSync(file);
      await expectRefused([lab.path('huge.cfg')], {
        code: 'BERTH_CONFIG_TOO_LARGE',
        message: like(/huge\.cfg.*larger than 67108864 bytes/),
      });
    });

    test.each([
      ['an unknown section', 'wonderland\n  bind 127.0.0.1:8003\n', 1, /wonderland/],
      ['an unknown keyword', 'listen x\n  bind 127.0.0.1:8003\n  wonder yes\n', 3, /wonder/],
      ['an unknown word of a bind', 'listen x\n  bind 127.0.0.1:8003 wonder\n', 2, /wonder/],
    ])('%s is HAProxy to judge', async (_, text, line, said) => {
      const config = lab.write('odd.cfg', `${configuration(steady)}${text}`);
      const at = configuration(steady).split('\n').length - 1 + line;
      await expectRefused(
        [config],
        {
          code: 'BERTH_CONFIG_REFUSED',
          message: like(said),
          details: {
            messages: expect.arrayContaining([expect.objectContaining({ file: config, line: at })]) as object,
          },
        },
        { staged: true },
      );
    });

    test.each(['127.0.0.1:99999', '127.0.0.1:0', '127.0.0.1:8010-8003', '127.0.0.1', '300.1.1.1:80', '[::1:80'])(
      'bind %s',
      async (word) => {
        const config = lab.write('odd.cfg', configuration([...steady, word]));
        const line =
          configuration([...steady, word])
            .split('\n')
            .findIndex((text) => text.trim() === `bind ${word}`) + 1;
        const berth = await open();
        const before = await everything(true);
        const error: unknown = await berth.reload([config]).catch((thrown: unknown) => thrown);
        expect(error).toMatchObject({ code: like(/^BERTH_CONFIG_(SYNTAX|REFUSED)$/) });
        expect(JSON.stringify(error)).toMatch(new RegExp(`odd\\.cfg(:|","line":)${line}\\b`));
        expect(await everything(true)).toEqual(before);
      },
    );

    test('an address that is not on this host: left out, or all refused, by policy', async () => {
      const config = lab.write('odd.cfg', configuration([...steady, '10.99.0.1:8003']));
      const message = like(/10\.99\.0\.1:8003.*not.*(ip_nonlocal_bind|this host)/);
      const abort = { conflicts: { onUnsolved: 'abort' } };
      const before = await everything(false);
      const berth = await open(abort);
      await expect(berth.reload([config])).rejects.toMatchObject({ code: 'BERTH_UNSERVABLE', message });
      expect(await everything(false)).toEqual(before);
      const told = await (await open()).preflight([config]);
      expect(told.ok).toBe(false);
      expect(told.listeners.find(({ servable }) => !servable)?.sentence).toMatch(/10\.99\.0\.1:8003.*ip_nonlocal_bind/);
      expect(await everything(false)).toEqual(before);
      expect(await (await open()).reload([config])).toMatchObject({
        outcome: 'served-in-part',
        quarantined: [{ name: '10.99.0.1:8003/tcp' }],
      });
    });

    test('more reserved ports than the limit allows, with the numbers', async () => {
      const config = lab.write('odd.cfg', configuration(['127.0.0.1:33000-50000']));
      await expectRefused([config], {
        code: 'BERTH_RESERVE_LIMIT',
        message: like(/17001 more ports.*only 39\.8 ?% of the ephemeral range 32768–60999.*50\.0 ?%/),
      });
    });
  });

  describe('HAProxy', () => {
    const config = () => lab.path('haproxy.cfg');
    const fake = (text: string) => {
      const file = lab.write('fake', `#!/bin/sh\n${text}\n`);
      chmodSync(file, 0o755);
      return { settings: { haproxy: { binary: file } } };
    };

    test('no such binary', () =>
      expectRefused(
        [config()],
        { code: 'BERTH_HAPROXY_MISSING', message: like(/\/no\/haproxy/) },
        { settings: { haproxy: { binary: '/no/haproxy' } } },
      ));

    test('a binary that is not HAProxy', () =>
      expectRefused(
        [config()],
        { code: 'BERTH_HAPROXY_MISSING', message: like(/not HAProxy.*hello/) },
        fake('echo hello'),
      ));

    test('a binary that is too old', () =>
      expectRefused(
        [config()],
        { code: 'BERTH_HAPROXY_UNSUITABLE', message: like(/HAProxy 1\.8\.30.*needs 2\.2/) },
        fake('echo "HA-Proxy version 1.8.30 2021/04/12"'),
      ));

    test.each([
      ['a dead process', '999999\n', /999999, which is gone/],
      ['nothing', '', /is empty/],
      ['junk', 'hello\n', /pid file/],
      ['several lines of junk', '\0\0\0\n12x\n', /pid file/],
    ])('a pid file that names %s', (_, text, message) => {
      const pidFile = lab.write('other.pid', text);
      return expectRefused(
        [config()],
        { code: 'BERTH_HAPROXY_NOT_FOUND', message: like(message) },
        { settings: { haproxy: { pidFile } } },
      );
    });

    test('a pid file that names another program', () => {
      const pidFile = lab.write('other.pid', `${process.pid}\n`);
      return expectRefused(
        [config()],
        {
          code: 'BERTH_HAPROXY_NOT_FOUND',
          message: like(new RegExp(`names process ${process.pid}, which is \\S+, not haproxy`)),
        },
        { settings: { haproxy: { pidFile } } },
      );
    });

    test.each([
      ['that answers something else', 'who are you\n\n', /not a HAProxy master's.*who are you/],
      ['that hangs up', '', /without an answer/],
    ])('a master socket of a stranger %s', async (_, answer, message) => {
      await stranger('master.sock', answer);
      await expectRefused(
        [config()],
        { code: 'BERTH_HAPROXY_SOCKET', message: like(message) },
        { settings: { haproxy: { masterSocket: lab.path('master.sock') } } },
      );
    });

    test('a master socket that is a stats socket', () =>
      expectRefused(
        [config()],
        { code: 'BERTH_HAPROXY_SOCKET', message: like(/it is a stats socket, not the one given with -S/) },
        { settings: { haproxy: { masterSocket: lab.path('state', 'run', '1.stats') } } },
      ));

    test('a stats socket of a stranger: his stays his', async () => {
      await stranger('stats.sock', 'hello\n');
      const inUse = lab.write(
        'odd.cfg',
        configuration(steady, { global: [`stats socket ${lab.path('stats.sock')} expose-fd listeners`] }),
      );
      const before = await everything(false);
      const sentence = like(/stats\.sock.*\S+\[\d+\] listens there/);
      await expect((await open()).reload([inUse])).rejects.toMatchObject({
        code: 'BERTH_UNSERVABLE',
        message: sentence,
      });
      const told = await (await open()).preflight([inUse]);
      expect(told).toMatchObject({ ok: false });
      expect(told.listeners.filter(({ servable }) => !servable)).toMatchObject([
        { sentence, section: 'global', place: { file: inUse, line: 3 } },
      ]);
      expect(await everything(false)).toEqual(before);
    });
  });

  describe('state directory', () => {
    const config = () => lab.path('haproxy.cfg');
    const state = (...parts: string[]) => lab.path('state', ...parts);

    test('a symlink', async () => {
      await lab.exec('ln', ['-s', state(), lab.path('link')]);
      await expectRefused(
        [config()],
        { code: 'BERTH_STATE_DIR', message: like(/link cannot be used: it is a symbolic link/) },
        { settings: { stateDir: lab.path('link') } },
      );
    });

    test('writable by others', async () => {
      chmodSync(state(), 0o777);
      await expectRefused([config()], { code: 'BERTH_STATE_DIR', message: like(/mode 0777 lets others write/) });
    });

    test('of another user', async () => {
      await lab.exec('chown', ['nobody', state()]);
      await expectRefused([config()], { code: 'BERTH_STATE_DIR', message: like(/belongs to uid 65534, not to uid 0/) });
    });

    test('below a directory that others can write to', async () => {
      mkdirSync(lab.path('open'));
      chmodSync(lab.path('open'), 0o777);
      await expectRefused(
        [config()],
        { code: 'BERTH_STATE_DIR', message: like(/open above it has mode 0777/) },
        { settings: { stateDir: lab.path('open', 'state') } },
      );
    });

    test('a journal torn in the middle is refused, one torn at its end is read', async () => {
      const whole = readFileSync(state('journal'), 'utf8');
      const lines = whole.split('\n');
      writeFileSync(state('journal'), [...lines.slice(0, 3), lines[3]?.slice(0, 20), ...lines.slice(4)].join('\n'));
      const before = await everything(false);
      await expect((await open()).reload([config()])).rejects.toMatchObject({
        code: 'BERTH_JOURNAL',
        message: like(/damaged at byte \d+: 3 valid records/),
      });
      expect(await everything(false)).toEqual(before);
      writeFileSync(state('journal'), `${whole}0123456789abcdef {"kind":"beg`);
      expect(await (await open()).reload([config()])).toMatchObject({ outcome: 'served', generation: 2 });
    });

    test.each([
      ['journal', 'hello\nwho are you\n'],
      ['journal', '\0\0\0\0\0\0\0\0'],
      ['serving.json', '{"pid":1,"startTicks":"1"}'],
      ['serving.json', '{"pid":-5,"startTicks":7}'],
      ['serving.json', 'null'],
      ['serving.json', '{"pid":'],
    ])('a %s that somebody else has written (%j) leads nowhere', async (file, text) => {
      const before = lab.listeners();
      writeFileSync(state(file), text);
      const report = await (await open()).reload([config()]);
      expect(report).toMatchObject({ outcome: 'served', listeners: { kept: 2, sameSocket: 2 } });
      expect(lab.listeners()).toEqual(before);
    });

    test.each([
      ['ledger.json', '{"version":1,"reserved":{'],
      ['ledger.json', '[]'],
      ['generations/1/meta.json', '{"number":7}'],
      ['generations/1/meta.json', 'hello'],
      ['generations/1/manifest.json', 'null'],
    ])('a damaged %s (%j) is named', async (file, text) => {
      writeFileSync(state(file), text);
      const before = await everything(false);
      const berth = await open();
      const error: unknown = await berth.reload([config()]).then(
        (report) => report,
        (thrown: unknown) => thrown,
      );
      if (error instanceof Error) {
        expect(error).toMatchObject({ code: like(/^BERTH_STATE_(DIR|WRITE)$/) });
        expect(error.message).toContain(file);
        expect(await everything(false)).toEqual(before);
      } else expect(error).toMatchObject({ outcome: 'served' });
    });

    test('a second Berth is told who works here and on what, or waits', async () => {
      const first = await open();
      const hold = lab.write(
        'fake',
        `#!/bin/sh\ncase " $* " in *" -D "*) while [ -e ${lab.path('hold')} ]; do sleep 0.02; done;; esac\nexec ${path} "$@"\n`,
      );
      chmodSync(hold, 0o755);
      lab.write('hold', '');
      const slow = await open({ haproxy: { binary: hold } });
      const working = slow.reload([config()]);
      while (!/"generation":2[^]*handing-over/.test(readFileSync(state('journal'), 'utf8')))
        await new Promise((go) => setTimeout(go, 5));
      await expect(first.reload([config()])).rejects.toMatchObject({
        code: 'BERTH_LOCKED',
        message: like(new RegExp(`Berth with pid ${process.pid}, which does "berth reload" since 2`)),
        details: { pid: process.pid, doing: 'berth reload' },
      });
      expect((await first.status()).lock).toMatchObject({ pid: process.pid, doing: 'berth reload' });
      const waiting = (await open({ lockWaitMs: 60_000 })).reload([config()]);
      rmSync(lab.path('hold'));
      expect(await working).toMatchObject({ outcome: 'served', generation: 2 });
      expect(await waiting).toMatchObject({ outcome: 'served', generation: 3 });
    });
  });

  /** A server of somebody else on a unix socket of the lab. */
  const stranger = (name: string, answer = ''): Promise<void> => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end(answer));
    });
    servers.push(server);
    return new Promise((resolve) => server.listen(lab.path(name), resolve));
  };
});
