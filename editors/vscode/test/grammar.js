// The grammar run by the editor's own engine: `npm install && npm test`.
// A line of the sample is followed by words in it, each with the scope that it has.
const assert = require("assert");
const fs = require("fs");
const path = require("path");
const oniguruma = require("vscode-oniguruma");
const textmate = require("vscode-textmate");

const at = (...names) => path.join(__dirname, ...names);

async function grammar() {
  const wasm = fs.readFileSync(require.resolve("vscode-oniguruma/release/onig.wasm"));
  await oniguruma.loadWASM(wasm.buffer);
  const file = at("..", "syntaxes", "pml.tmLanguage.json");
  const registry = new textmate.Registry({
    onigLib: Promise.resolve({
      createOnigScanner: (patterns) => new oniguruma.OnigScanner(patterns),
      createOnigString: (text) => new oniguruma.OnigString(text),
    }),
    loadGrammar: async () => textmate.parseRawGrammar(fs.readFileSync(file, "utf8"), file),
  });
  return registry.loadGrammar("text.pml");
}

async function main() {
  const pml = await grammar();
  let checked = 0;
  let stack = textmate.INITIAL;
  let tokens = [];
  let text = "";
  for (const line of fs.readFileSync(at("sample.txt"), "utf8").split("\n")) {
    const expected = line.match(/^# (.+) (\S+)$/);
    if (expected) {
      const [, word, scope] = expected;
      const column = text.indexOf(word);
      assert.notStrictEqual(column, -1, line);
      const token = tokens.find((one) => one.startIndex <= column && column < one.endIndex);
      assert.strictEqual(token.scopes[token.scopes.length - 1], `${scope}.pml`, text + line);
      checked += 1;
    } else {
      text = line;
      ({ tokens, ruleStack: stack } = pml.tokenizeLine(line, stack));
    }
  }
  console.log(`${checked} words have the scopes that the sample says`);
}

main();
