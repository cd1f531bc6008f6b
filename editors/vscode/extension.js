// Starts `pml lsp` and connects it with the editor; all knowledge of the language is in there.
const { workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

function newClient() {
  const settings = workspace.getConfiguration("pml");
  const model = settings.get("model");
  const server = {
    command: settings.get("command"),
    args: model ? ["lsp", "--model", model] : ["lsp"],
    options: { cwd: workspace.workspaceFolders?.[0]?.uri.fsPath },
  };
  return new LanguageClient("pml", "PML", server, { documentSelector: [{ language: "pml" }] });
}

async function activate(context) {
  client = newClient();
  const restart = workspace.onDidChangeConfiguration(async (event) => {
    if (event.affectsConfiguration("pml")) {
      await client.stop();
      client = newClient();
      await client.start();
    }
  });
  context.subscriptions.push(restart);
  await client.start();
}

function deactivate() {
  return client?.stop();
}

module.exports = { activate, deactivate };
