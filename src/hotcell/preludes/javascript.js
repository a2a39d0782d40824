// Read before the code, inside the wall: waits for it, defines its variables, runs it, and writes its value or its error.
'use strict';
{
  const fs = require('node:fs');
  const vm = require('node:vm');
  const path = require('node:path');
  const url = require('node:url');
  const util = require('node:util');
  const { spawnSync } = require('node:child_process');

  const GATE = 3;
  const SHOWN = '<cell>';
  const MOST_CHARS = 20000;
  // What the parser says of a script that wants to be a module.
  const WANTS_MODULE =
    /import statement outside|import declarations may only|'import\.meta'|token 'export'|await is only valid/;
  const { HOTCELL_CONTEXT, HOTCELL_RESULT, HOTCELL_ERROR } = process.env;
  const moduleFile = path.resolve('.hotcell-cell.mjs');
  const moduleUrl = url.pathToFileURL(moduleFile).href;
  let value;

  // What the first use of each takes is spent while nobody waits.
  vm.runInThisContext('0');
  util.format('%s %o', process.stdout.fd, [process.stderr.fd]);
  while (fs.readSync(GATE, Buffer.alloc(1)) > 0); // until everything is in its place
  fs.closeSync(GATE);
  const codeFile = process.argv[2];
  const code = fs.readFileSync(codeFile, 'utf8');
  const context = JSON.parse(fs.readFileSync(HOTCELL_CONTEXT, 'utf8'));

  process.argv = [process.argv[0], SHOWN];
  const own = require('node:module').createRequire(path.resolve('cell.js'));
  own.main = module; // so that require.main === module holds, as in a file that is run
  const { emitWarning } = process;
  process.emitWarning = (...said) => {
    if (!String(said[0]).includes('USE_MAIN_CONTEXT_DEFAULT_LOADER')) emitWarning.apply(process, said); // not the code's
  };
  const fetch = async () => {
    throw new TypeError('fetch failed: there is no network in a cell'); // Node's own needs WebAssembly to say so
  };
  Object.assign(globalThis, { require: own, module, exports, __dirname: path.resolve(), fetch }, context);

  const nameOf = (error) => String(error.name === 'Error' ? (error.constructor?.name ?? 'Error') : error.name);
  const told = (error) => {
    const isError = util.types.isNativeError(error);
    const full = (isError ? String(error.stack) : util.inspect(error)).replaceAll(moduleUrl, SHOWN);
    const stack = full.replace(/^node:[^]*?\n\n/, ''); // a line of Node's own
    const lines = stack.split('\n').filter((line) => !line.includes(__filename) && !/^ +at .*\bnode:/.test(line));
    return {
      type: isError ? nameOf(error) : typeof error,
      message: (isError ? String(error.message) : util.inspect(error)).slice(0, MOST_CHARS),
      traceback: `${lines.join('\n').slice(0, MOST_CHARS)}\n`,
      line: Number(stack.match(/<cell>:(\d+)/)?.[1] ?? 0),
      memory_error: isError && error.message === 'Array buffer allocation failed',
    };
  };
  process.on('uncaughtException', (error) => {
    if (process.listenerCount('uncaughtException') > 1) return; // the code has a handler of its own
    fs.writeFileSync(HOTCELL_ERROR, JSON.stringify(told(error)));
    process.exit(1);
  });

  const plain = (_, item) => {
    if (typeof item === 'bigint') return item.toString();
    if (item instanceof Map) return Object.fromEntries(item);
    return item instanceof Set ? [...item] : item;
  };
  const asJson = (item) => {
    try {
      return JSON.stringify(item, plain) ?? JSON.stringify(util.inspect(item));
    } catch {
      return JSON.stringify(util.inspect(item)); // it holds itself
    }
  };
  process.on('exit', (status) => {
    if (status !== 0) return;
    value ??= vm.runInThisContext('typeof result === "undefined" ? undefined : result');
    if (value !== undefined && value !== null && value !== context.result) fs.writeFileSync(HOTCELL_RESULT, asJson(value));
  });

  // An import() does not tell the line of a syntax error; Node's own check does.
  const parserSays = () => {
    const copy = `${codeFile}.mjs`;
    fs.writeFileSync(copy, code);
    const check = spawnSync(process.execPath, [...process.execArgv, '--check', copy], { encoding: 'utf8' });
    return check.stderr?.replaceAll(copy, SHOWN).replace(/\n\nNode\.js v.*\s*$/, '');
  };
  const runModule = async () => {
    // In the work directory, so that it finds the files there; gone before its first statement runs.
    const forget = `import { unlinkSync } from 'node:fs'; unlinkSync(${JSON.stringify(moduleFile)});`;
    const last = `import ${JSON.stringify(`data:text/javascript,${encodeURIComponent(forget)}`)};`;
    fs.writeFileSync(moduleFile, `${code}\n;${last}`);
    try {
      const exported = await import(moduleUrl);
      value = exported.default ?? exported.result;
    } catch (error) {
      fs.rmSync(moduleFile, { force: true });
      if (error instanceof SyntaxError) error.stack = parserSays() || error.stack;
      throw error;
    }
  };
  const runScript = (script) => {
    value = script.runInThisContext();
    if (typeof value?.then !== 'function') return;
    const promise = value;
    value = undefined;
    promise.then((later) => (value = later));
  };
  const importModuleDynamically = vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER; // not before Node 20.12
  const parse = () => {
    if (!importModuleDynamically && /\bimport\s*\(/.test(code)) return null;
    try {
      return new vm.Script(code, { filename: SHOWN, importModuleDynamically });
    } catch (error) {
      if (WANTS_MODULE.test(error.message)) return null;
      throw error;
    }
  };
  const script = parse();
  if (script) runScript(script);
  else runModule(); // what it throws comes back as an exception that nobody caught
}
