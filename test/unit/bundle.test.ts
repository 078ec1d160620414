import { readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import fc from '../support/fast-check.js';
import { describe, expect, it } from 'vitest';
import { joinFiles, originOf, splitBundle } from '../../src/reload/bundle.js';
import { readStaged } from '../../src/reload/files.js';
import { stagedFiles } from '../../src/reload/generations.js';
import { stage } from '../../src/reload/stage.js';
import { openTestState, put } from '../support/state.js';

const FACTS = { haproxyVersion: '2.6.12', reason: 'reload', references: [] as string[] };

describe('bundle', () => {
  const many = (home: string, count: number, text: (i: number) => string, name = 'lb'): string[] =>
    Array.from({ length: count }, (_, i) => put(join(home, `d/${name}${String(i).padStart(4, '0')}.cfg`), text(i)));
  const long = 'x'.repeat(200);

  it('joins a directory of more than a hundred files, and messages still name the file and the line', async () => {
    const { state, home, config } = await openTestState();
    const files = many(home, 101, (i) => `# ${i}\nlisten l${i}\n  mode tcp\n`);
    const request = { ...FACTS, sources: [join(home, 'd'), config], files: [...files, config] };
    const generation = await stage(state, request);
    const [joined = '', single] = generation.command.files;
    expect(single).toBe(generation.staged(config));
    expect(readFileSync(joined, 'utf8')).toBe(files.map((file) => readFileSync(file, 'utf8')).join(''));
    expect(readdirSync(generation.staged(join(home, 'd')))).toEqual(['.berth-bundle-1.cfg']);
    expect(
      generation.toOriginal(`parsing [${joined}:6] : x (declared at ${joined}:303), file '${joined}' line 4`),
    ).toBe(`parsing [${files[1]!}:3] : x (declared at ${files[100]!}:3), file '${files[1]!}' line 1`);
    expect(generation.toOriginal(`Error(s) found in ${joined}`)).toBe(`Error(s) found in ${join(home, 'd')}`);
    expect(generation.meta).toMatchObject({ fileCount: 102 });
    expect([...(await stagedFiles(generation)).joined].map(([file, text]) => [file, text.toString()])).toEqual(
      files.map((file) => [file, readFileSync(file, 'utf8')]),
    );
    const few = await stage(state, { ...request, files: files.slice(0, 100) });
    expect(few.manifest.bundles).toEqual([]);
    expect(few.command.files[0]).toBe(few.staged(join(home, 'd')));
  });

  it('joins fewer where the master is given their names in one string that is too long', async () => {
    const { state, home } = await openTestState();
    const deep = join('d', ...Array.from({ length: 8 }, () => long));
    const files = Array.from({ length: 90 }, (_, i) =>
      put(join(home, deep, `${String(i).padStart(2, '0')}.cfg`), 'defaults\n'),
    );
    const request = { ...FACTS, sources: [join(home, deep)], files };
    expect((await stage(state, request)).manifest.bundles).toEqual([]);
    expect((await stage(state, { ...request, namesInOneString: true })).manifest.bundles).toHaveLength(1);
  });

  it.each([
    ['lines before the first section', '  mode tcp\nlisten a\n'],
    ['no line feed at the end', 'listen a\n  mode tcp'],
    ['an open .if', '.if 1\nlisten a\n'],
    ['a scope', 'listen a\n[spoe]\n'],
    ['its own name', 'listen a\n  log-tag "${.FILE}"\n'],
  ])('leaves a file with %s by itself, which joined would mean something else', async (_, text) => {
    const { state, home } = await openTestState();
    const files = many(home, 120, (i) => (i === 7 ? text : '# comment\n.notice "x"\n\ndefaults\n'));
    const generation = await stage(state, { ...FACTS, sources: [join(home, 'd')], files });
    const beside = (name: string): string => generation.staged(join(home, 'd', name));
    expect(generation.command.files).toEqual([
      beside('.berth-bundle-1.cfg'),
      generation.staged(files[7]!),
      beside('.berth-bundle-2.cfg'),
    ]);
    expect(readFileSync(generation.staged(files[7]!), 'utf8')).toBe(text);
  });

  it('a file that something refers to stands by itself as well', async () => {
    const { state, home } = await openTestState();
    const files = many(home, 101, () => 'defaults\n');
    const sources = [join(home, 'd')];
    const generation = await stage(state, {
      ...FACTS,
      sources,
      files,
      references: [files[3]!],
      workingDirectory: home,
    });
    expect(readFileSync(generation.staged(files[3]!), 'utf8')).toBe('defaults\n');
    expect(readFileSync(generation.command.files[0]!, 'utf8')).toBe('defaults\n'.repeat(101));
  });

  it('a directory is not joined where one of its files is given by name as well: it is read twice', async () => {
    const { state, home } = await openTestState();
    const files = many(home, 101, () => 'defaults\n');
    const sources = [join(home, 'd'), files[3]!];
    const generation = await stage(state, { ...FACTS, sources, files: [...files, files[3]!] });
    expect(generation.manifest.bundles).toEqual([]);
  });

  it('is staged again from a generation, with a file rewritten, and one that does not fit any more', async () => {
    const { state, home } = await openTestState();
    const files = many(home, 101, (i) => `listen l${i}\n`);
    const request = { ...FACTS, sources: [join(home, 'd')], files };
    const staged = await stagedFiles(await stage(state, request));
    files.forEach((file) => rmSync(file));
    const rewritten = new Map([
      [files[5]!, (text: string) => text.replace('l5', 'five')],
      [files[100]!, () => 'listen last'],
    ]);
    const again = await stage(state, { ...request, staged, rewritten });
    const lines = files.slice(0, 100).map((_, i) => (i === 5 ? 'listen five\n' : `listen l${i}\n`));
    expect(again.command.files).toEqual([again.staged(join(home, 'd/.berth-bundle-1.cfg')), again.staged(files[100]!)]);
    expect(readFileSync(again.command.files[0]!, 'utf8')).toBe(lines.join(''));
    expect(readFileSync(again.command.files[1]!, 'utf8')).toBe('listen last');
    const once = await stagedFiles(again);
    expect(readStaged(once, files[5]!).toString()).toBe('listen five\n');
    expect(readStaged(once, files[100]!).toString()).toBe('listen last');
  });

  it('a bundle that was cut short is not taken for the files', async () => {
    const { state, home } = await openTestState();
    const generation = await stage(state, {
      ...FACTS,
      sources: [join(home, 'd')],
      files: many(home, 101, () => '#\n'),
    });
    truncateSync(generation.command.files[0]!, 40);
    await expect(stagedFiles(generation)).rejects.toMatchObject({ code: 'BERTH_STATE_DIR' });
  });

  it('refuses names that are too long together where nothing can be joined', async () => {
    const { state, home } = await openTestState();
    const files = many(home, 500, () => 'defaults\n', long);
    const asked = { ...FACTS, sources: files, files, namesInOneString: true };
    await expect(stage(state, asked)).rejects.toMatchObject({ code: 'BERTH_HAPROXY_UNSUITABLE' });
    const odd = many(home, 500, () => 'mode tcp\n', long);
    const directory = { ...asked, sources: [join(home, 'd')], files: odd };
    await expect(stage(state, directory)).rejects.toMatchObject({
      code: 'BERTH_CONFIG_SYNTAX',
      message: expect.stringMatching(/cfg:1: "mode" stands before its first/) as string,
    });
  });

  it('a line of the bundle is the line of the file, and the bundle splits into the files, for any files', () => {
    const text = fc
      .array(fc.constantFrom('listen a', '# x', '', 'defaults'), { maxLength: 5 })
      .map((lines) => lines.map((line) => `${line}\n`).join(''));
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 6 }), (texts) => {
        const files = texts.map((each, i) => ({ file: `/d/${i}.cfg`, text: each }));
        const [joined] = joinFiles('/d', files).bundles;
        const places = files.flatMap(({ file, text: each }) =>
          each
            .split('\n')
            .slice(0, -1)
            .map((_, i) => ({ file, line: i + 1 })),
        );
        const lines = joined!.text.split('\n').slice(0, -1);
        expect(lines.map((_, i) => originOf(joined!.bundle, i + 1))).toEqual(places);
        const split = splitBundle(joined!.bundle, Buffer.from(joined!.text));
        expect([...split!].map(([file, content]) => ({ file, text: content.toString() }))).toEqual(files);
      }),
    );
  });
});
