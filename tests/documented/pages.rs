//! What a browser gets of the description.

use crate::server::{TestServer, client};
use crate::support::TestDatabase;

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_shown_at_docs() {
    let database = TestDatabase::sqlite();
    let server = TestServer::start(database.url()).await;
    let client = client();
    // The redirect is followed.
    let page = client.get(server.url("/docs")).send().await.unwrap();
    assert_eq!((page.status().as_u16(), page.url().path()), (200, "/docs/"));
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    let page = page.text().await.unwrap();
    for name in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        assert!(page.contains(name), "{page}");
        let part = client.get(server.url(&format!("/docs/{name}"))).send().await.unwrap();
        assert_eq!(part.status(), 200, "{name}");
        let kind = if name.ends_with(".css") { "text/css" } else { "text/javascript" };
        assert!(part.headers()["content-type"].to_str().unwrap().starts_with(kind), "{name}");
        assert!(part.headers().contains_key("cache-control"), "{name}");
    }
    let missing = client.get(server.url("/docs/nothing.js")).send().await.unwrap();
    assert_eq!(missing.status(), 404);
    let described: serde_json::Value =
        client.get(server.url("/openapi.json")).send().await.unwrap().json().await.unwrap();
    assert_eq!(described["openapi"], "3.1.0");
}
