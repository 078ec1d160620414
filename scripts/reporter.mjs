/**
 * A vitest reporter for scripts/test: prints what failed and what was skipped, with the reason, and appends
 * `PASSED FAILED` to the file that BERTH_TEST_COUNTS names. With BERTH_MUST_RUN=1 a skipped test counts as failed.
 */
import { appendFileSync } from 'node:fs';
import process from 'node:process';

const mustRun = process.env['BERTH_MUST_RUN'] === '1';

export default class Counts {
  /**
   * @param {ReadonlyArray<import('vitest/node').TestModule>} modules
   * @param {ReadonlyArray<import('vitest').SerializedError>} errors what was thrown outside of any test
   */
  onTestRunEnd(modules, errors) {
    const counts = { passed: 0, failed: errors.length };
    for (const module of modules) {
      // A file that cannot be loaded, or a hook that fails, has errors of its own and no failed test.
      const broken = [module, ...module.children.allSuites()].filter((one) => one.errors().length > 0);
      counts.failed += broken.length;
      for (const one of broken) print('failed', module, one.type === 'suite' ? one.fullName : '(the file itself)');
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') counts.passed += 1;
        else if (result.state === 'failed' || mustRun) counts.failed += 1;
        if (result.state === 'failed') print('failed', module, test.fullName);
        if (result.state === 'skipped')
          print('skipped', module, `${test.fullName}: ${result.note ?? 'no reason given'}`);
      }
    }
    const file = process.env['BERTH_TEST_COUNTS'];
    if (file) appendFileSync(file, `${counts.passed} ${counts.failed}\n`);
  }
}

function print(
  /** @type {string} */ what,
  /** @type {import('vitest/node').TestModule} */ module,
  /** @type {string} */ text,
) {
  process.stdout.write(`  ${what}: ${module.relativeModuleId}: ${text}\n`);
}
