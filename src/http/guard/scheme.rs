//! How one shows who one is, as the description of the API says it.

use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};

/// An API key: `Authorization: Bearer KEY`.
pub(super) const KEY: &str = "key";
/// A browser's session.
const SESSION: &str = "session";
/// Its cookie.
pub(super) const COOKIE: &str = "rowmill_session";

/// Declares both, and that whatever takes a key takes a session, too.
pub(in crate::http) fn declare(document: &mut OpenApi) {
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key with the scope that is named, or `admin`. A server without keys asks for none."))
        .build();
    let cookie = ApiKeyValue::with_description(COOKIE, "What `POST /session` sets.");
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(KEY, SecurityScheme::Http(key));
    components.add_security_scheme(SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            let Some(security) = &mut operation.security else { continue };
            let sessions: Vec<SecurityRequirement> =
                security.iter().filter_map(as_session).collect();
            security.extend(sessions);
        }
    }
}

/// The same scopes of a session. What is inside of a requirement is seen from its JSON alone.
fn as_session(requirement: &SecurityRequirement) -> Option<SecurityRequirement> {
    let said = serde_json::to_value(requirement).ok()?;
    let scopes: Vec<String> = serde_json::from_value(said.get(KEY)?.clone()).ok()?;
    Some(SecurityRequirement::new(SESSION, scopes))
}
