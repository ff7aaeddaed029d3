//! Somebody who uses the management API over HTTP, logged in.

use reqwest::Method;
use serde_json::{Value, json};

/// Of the admin that the first start makes.
pub(crate) const ADMIN_PASSWORD: &str = "violet tractor hums low";

/// A session.
#[derive(Debug)]
pub(crate) struct Person {
    base: String,
    token: String,
    http: reqwest::Client,
}

impl Person {
    /// Logs in at the API that listens at `api` (host:port).
    pub(crate) async fn log_in(api: &str, username: &str, password: &str) -> Self {
        let nobody = Self { base: format!("http://{api}/api/v1"), token: String::new(), http: reqwest::Client::new() };
        let body = json!({"username": username, "password": password});
        let (status, answer) = nobody.send(Method::POST, "/auth/login", Some(body)).await;
        let token = answer["access_token"].as_str();
        let token = token.unwrap_or_else(|| panic!("{username} cannot log in: {status} {answer}")).to_owned();
        Self { token, ..nobody }
    }

    /// Logs in with a password that somebody else has set, and replaces it.
    pub(crate) async fn log_in_first(api: &str, username: &str, given: &str, own: &str) -> Self {
        let body = json!({"current_password": given, "new_password": own});
        Self::log_in(api, username, given).await.does(Method::POST, "/auth/password", Some(body)).await;
        Self::log_in(api, username, own).await
    }

    /// Sends a request that must succeed; the answer's body.
    pub(crate) async fn does(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.send(method.clone(), path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer:#}");
        answer
    }

    /// Sends a request to a path below `/api/v1`; status and body.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the API answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("an answer is text");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Makes an object; what was made.
    pub(crate) async fn make(&self, path: &str, body: Value) -> Value {
        let (status, made) = self.send(Method::POST, path, Some(body)).await;
        assert_eq!(status, 201, "{path}: {made:#}");
        made
    }

    /// What is there.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) async fn read(&self, path: &str) -> Value {
        let (status, found) = self.send(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {found:#}");
        found
    }
}
