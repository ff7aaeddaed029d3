//! The documents are valid, break no rule of the linter, and their examples fit their schemas.

use crate::tools::{DOCUMENTS, program, redocly, succeed};

#[tokio::test]
async fn the_documents_are_valid_and_their_examples_fit() {
    let told = succeed(program("python").arg("tests/spec/examples.py").args(DOCUMENTS)).await;
    for document in DOCUMENTS {
        assert!(told.contains(&format!("{document}: ")), "{told}");
    }
}

#[tokio::test]
async fn the_linter_finds_no_error() {
    let lint = ["lint", "--config", "tests/spec/redocly.yaml"];
    let told = succeed(redocly().args(lint).args(DOCUMENTS)).await;
    assert!(told.contains("valid"), "{told}");
}
