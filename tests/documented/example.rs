//! The Python example of the documentation does what it says.

use crate::python;
use crate::server::TestServer;
use crate::support::TestDatabase;

#[tokio::test(flavor = "multi_thread")]
async fn the_python_example_works() {
    let database = TestDatabase::sqlite();
    let server = TestServer::start(database.url()).await;
    let mut example = python::program("python").await;
    example.arg(python::file("docs/example.py")).arg(server.url(""));
    let said = python::run(example).await;
    assert!(said.contains("order 1 from DE, attempt 1"), "{said}");
    assert!(said.contains("nothing is left"), "{said}");
    let text = std::fs::read_to_string(python::file("docs/example.py")).unwrap();
    assert!(text.lines().count() <= 30, "it is no longer short");
}
