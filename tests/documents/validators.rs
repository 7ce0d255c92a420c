//! The contract for machines before the tools that integrators put it into: the AsyncAPI parser and ajv, both strict.

use std::process::Command;

use crate::corpus::root;
use crate::node;

/// Prints what is wrong, a line each.
const SCRIPT: &str = r"
const { readFileSync } = require('fs');
const Ajv = require('ajv/dist/2020').default;
const { Parser } = require('@asyncapi/parser');
const read = (file) => readFileSync(`docs/contract/${file}`, 'utf8');

for (const file of ['job.schema.json', 'outcome.schema.json', 'journal.schema.json']) {
  const schema = JSON.parse(read(file));
  try {
    const validate = new Ajv({ strict: true, strictRequired: true, allErrors: true }).compile(schema);
    for (const example of schema.examples) {
      if (!validate(example)) console.log(`${file}: ${JSON.stringify(validate.errors)}`);
    }
  } catch (error) {
    console.log(`${file}: ${error.message}`);
  }
}
new Parser().parse(read('asyncapi.json')).then(({ document, diagnostics }) => {
  // Severities: 0 an error, 1 a warning, 2 and 3 advice.
  for (const { severity, path, message } of diagnostics) {
    if (severity < 2) console.log(`asyncapi.json: ${path.join('.')}: ${message}`);
  }
  const messages = document ? document.messages().all().map((message) => message.id()).sort() : [];
  console.log(`messages: ${messages.join(', ')}`);
});
";

#[test]
fn the_asyncapi_parser_and_a_strict_ajv_have_nothing_to_say() {
    let Some(modules) = node::modules("validators", &["@asyncapi/parser@3", "ajv@8"]) else {
        eprintln!("NOT RUN: the AsyncAPI parser and ajv: node or npm is not here, or npm could not install them");
        return;
    };
    let output =
        Command::new("node").args(["-e", SCRIPT]).env("NODE_PATH", modules).current_dir(root()).output().unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.trim(), "messages: deadLetter, job, outcome", "{complaints}");
}
