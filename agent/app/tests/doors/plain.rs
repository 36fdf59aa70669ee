//! Plain XML over HTTP.

use std::process::Command;

use shoal_testkit::{AgentProcess, HttpResponse, wait_until};

use crate::common::{DEADLINE, Pool, printed, project, python_with_zeep};

const XML: (&str, &str) = ("Content-Type", "application/xml");

fn post(agent: &AgentProcess, path: &str, body: &str) -> HttpResponse {
    agent.api().request("POST", path, &[XML], body.as_bytes()).expect("an answer")
}

fn text(response: &HttpResponse) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

fn get(agent: &AgentProcess, path: &str) -> HttpResponse {
    agent.api().request("GET", path, &[], b"").expect("an answer")
}

/// Checks documents against schemas, as another implementation would: each a schema, a name and a document.
fn validate(pool: &Pool, documents: &[(&str, &str)]) {
    for (number, (schema, document)) in documents.iter().enumerate() {
        let file = pool.folder.path().join(format!("document-{number}.xml"));
        std::fs::write(&file, document).expect("written");
        let script = "import sys\nfrom lxml import etree\n\
                      etree.XMLSchema(etree.parse(sys.argv[1])).assertValid(etree.parse(sys.argv[2]))";
        printed(Command::new(python_with_zeep()).args(["-c", script]).arg(project(schema)).arg(file));
    }
}

#[test]
fn xml_is_sent_and_waited_for_and_both_answers_are_as_their_schemas_say() {
    let pool = Pool::start(&["office-pc", "lab-2"], &["titles", "word-count"]);
    let agent = &pool.agents[0];
    let draft = "<message xmlns=\"urn:shoal:dci:1\" type=\"titles\"><to agent=\"office-pc\"/><to agent=\"lab-2\"/><body>\
                 <books xmlns=\"urn:books\"><title>Emma</title><title>Dracula &amp; I</title></books></body></message>";
    let sent = post(agent, "/api/v1/xml", draft);
    assert_eq!(sent.status, 202, "{}", text(&sent));
    assert_eq!(text(&sent).matches("<signature").count(), 2, "{}", text(&sent));
    let answered = post(agent, "/api/v1/xml?wait=60", draft);
    let document = text(&answered);
    assert_eq!(answered.status, 200, "{document}");
    assert!(document.contains("finished=\"true\""), "{document}");
    assert_eq!(document.matches("state=\"handled\"").count(), 2, "{document}");
    assert_eq!(document.matches("<body xmlns=\"urn:shoal:dci:1\">Dracula &amp; I</body>").count(), 2, "{document}");
    validate(&pool, &[("docs/draft.xsd", draft), ("docs/replies.xsd", &text(&sent)), ("docs/replies.xsd", &document)]);
    // A message as it was sent is one that the envelope's schema takes.
    let inner = text(&sent);
    let first = &inner[inner.find("<message ").unwrap()..inner.find("</message>").unwrap() + "</message>".len()];
    validate(&pool, &[("docs/message.xsd", first)]);
    // Written by a library: prefixes of its own, declared where it likes.
    let prefixed = "<?xml version='1.0' encoding='utf-8'?>\r\n<ns0:message xmlns:ns0=\"urn:shoal:dci:1\" xmlns:ns1=\"urn:books\" \
                    type=\"titles\">\r\n<ns0:to all=\"true\"/><ns0:body><ns1:books><ns1:title>Emma</ns1:title></ns1:books></ns0:body>\
                    </ns0:message>";
    let document = text(&post(agent, "/api/v1/xml?wait=60", prefixed));
    assert_eq!(document.matches(">Emma</body>").count(), 2, "{document}");
    // Who does not answer in time is told.
    let away = draft.replace("titles", "nothing-like-it");
    let document = text(&post(agent, "/api/v1/xml?wait=60", &away));
    assert_eq!(document.matches("state=\"refused\"").count(), 2, "{document}");
    let document = text(&post(agent, "/api/v1/xml?wait=0", draft));
    assert!(document.contains("finished=\"false\"") && !document.contains("<reply "), "{document}");
    validate(&pool, &[("docs/replies.xsd", &document)]);
}

#[test]
fn all_doors_over_http_have_the_same_rights() {
    let pool = Pool::start(&["office-pc"], &["word-count"]);
    let agent = &pool.agents[0];
    let client = |name: &str, role: &str| {
        let added = agent.json(&["user", "add", name, "--role", role]).expect("added");
        let password = added["password"].as_str().expect("a password").to_owned();
        shoal_testkit::HttpClient::new(api_address(agent), name, &password, DEADLINE)
    };
    let json = ("Content-Type", "application/json");
    let soap = ("Content-Type", "text/xml; charset=utf-8");
    let in_json = r#"{"type":"word-count","to":{"all":true},"text":"x"}"#;
    let in_xml = "<message xmlns='urn:shoal:dci:1' type='word-count'><to all='true'/><body>x</body></message>";
    let envelope = |body: &str| {
        format!(
            "<e:Envelope xmlns:e='http://schemas.xmlsoap.org/soap/envelope/' xmlns:s='urn:shoal:soap:1'><e:Body>{body}</e:Body></e:Envelope>"
        )
    };
    let in_soap =
        envelope("<s:Send><s:type>word-count</s:type><s:to><s:all>true</s:all></s:to><s:text>x</s:text></s:Send>");
    let (mut vera, mut ulla) = (client("vera", "viewer"), client("ulla", "user"));
    for (path, kind, body, refused, word) in [
        ("/api/v1/messages", json, in_json, 403, "role"),
        ("/api/v1/xml", XML, in_xml, 403, "<status>403</status>"),
        ("/soap", soap, in_soap.as_str(), 500, "<s:status>403</s:status>"),
    ] {
        let answer = vera.request("POST", path, &[kind], body.as_bytes()).expect("an answer");
        assert_eq!(answer.status, refused, "{path}: {}", text(&answer));
        assert!(text(&answer).contains(word), "{path}: {}", text(&answer));
        let answer = ulla.request("POST", path, &[kind], body.as_bytes()).expect("an answer");
        assert!([200, 202].contains(&answer.status), "{path}: {}", text(&answer));
    }
    // Everyone sees of the log what they sent, and only who tends the pool all of it.
    let sent = agent.shoal(&["send", "word-count", "--all", "of another"]).expect("runs");
    assert!(sent.status.success(), "{sent:?}");
    let log = envelope("<s:Log><s:direction>sent</s:direction></s:Log>");
    let of_ulla = text(&ulla.request("POST", "/soap", &[soap], log.as_bytes()).expect("an answer"));
    assert_eq!(of_ulla.matches("<s:entry>").count(), 3, "{of_ulla}");
    assert!(!of_ulla.contains("of another"), "{of_ulla}");
    let of_all = text(&agent.api().request("POST", "/soap", &[soap], log.as_bytes()).expect("an answer"));
    assert!(of_all.contains("of another"), "{of_all}");
}

#[test]
fn what_became_of_a_message_is_told_in_a_later_call() {
    let pool = Pool::start(&["office-pc", "lab-2"], &["word-count"]);
    let agent = &pool.agents[0];
    let draft =
        "<message xmlns=\"urn:shoal:dci:1\" type=\"word-count\"><to agent=\"lab-2\"/><body>one two</body></message>";
    let sent = text(&post(agent, "/api/v1/xml", draft));
    let (_, id) = sent.split_once(" id=\"").expect("an id");
    let path = format!("/api/v1/xml/{}", id.split('"').next().expect("an id"));
    let handled = wait_until("what was sent to be handled", DEADLINE, || {
        let response = get(agent, &path);
        assert_eq!(response.status, 200, "{}", text(&response));
        assert_eq!(response.header("content-type"), Some("application/xml; charset=utf-8"));
        let document = text(&response);
        Ok(document.contains("state=\"handled\"").then_some(document))
    });
    let document = handled.expect("it is handled");
    assert!(document.contains("name=\"lab-2\"") && document.contains("exit-status=\"0\""), "{document}");
    assert_eq!(document.matches("<state ").count(), 1, "{document}");
    validate(&pool, &[("docs/replies.xsd", &document)]);
    // Who has not sent it knows nothing of it; and only who is signed in asks.
    for (agent, path, status) in [
        (&pool.agents[1], path.as_str(), 404),
        (agent, "/api/v1/xml/11111111-1111-1111-1111-111111111111", 404),
        (agent, "/api/v1/xml/1", 400),
    ] {
        let response = get(agent, path);
        assert_eq!(response.status, status, "{path}: {}", text(&response));
        assert!(text(&response).contains("<problem xmlns=\"urn:ietf:rfc:7807\">"), "{}", text(&response));
    }
    let mut stranger = shoal_testkit::HttpClient::new(api_address(agent), "admin", "wrong", DEADLINE);
    let refused = stranger.request("GET", &path, &[], b"").expect("an answer");
    assert_eq!(refused.status, 401);
    assert!(!text(&refused).contains("lab-2"), "{}", text(&refused));
}

#[test]
fn what_fails_is_a_problem_document() {
    let pool = Pool::start(&["office-pc"], &["word-count"]);
    let agent = &pool.agents[0];
    let draft = |attributes: &str, to: &str| {
        format!("<message xmlns='urn:shoal:dci:1' {attributes}><to {to}/><body>x</body></message>")
    };
    for (path, body, status, word) in [
        ("/api/v1/xml", "not XML".to_owned(), 400, "XML"),
        ("/api/v1/xml", draft("", "all='true'"), 400, "type"),
        ("/api/v1/xml", draft("type='shoal.receipt'", "all='true'"), 400, "agents&apos; own"),
        ("/api/v1/xml", draft("type='x'", "agent='nobody &amp; &lt;co>'"), 404, "nobody &amp; &lt;co&gt;"),
        ("/api/v1/xml", draft("type='x'", "group='nobodies'"), 404, "nobodies"),
        ("/api/v1/xml", draft("type='x' expires='2020-01-01T00:00:00Z'", "all='true'"), 400, "expired"),
        ("/api/v1/xml?wait=long", draft("type='x'", "all='true'"), 400, "wait"),
    ] {
        let response = post(agent, path, &body);
        let document = text(&response);
        assert_eq!(response.status, status, "{body}: {document}");
        assert_eq!(response.header("content-type"), Some("application/problem+xml; charset=utf-8"));
        let word = word.replace("&apos;", "'");
        assert!(document.contains("<problem xmlns=\"urn:ietf:rfc:7807\">") && document.contains(&word), "{document}");
        assert!(document.contains(&format!("<status>{status}</status>")), "{document}");
    }
    let json = agent.api().request("POST", "/api/v1/xml", &[("Content-Type", "application/json")], b"{}");
    assert_eq!(json.expect("an answer").status, 415);
    // Who is not signed in is told how to.
    let mut stranger = shoal_testkit::HttpClient::new(api_address(agent), "admin", "wrong", DEADLINE);
    let refused = stranger.request("POST", "/api/v1/xml", &[XML], draft("type='x'", "all='true'").as_bytes());
    let refused = refused.expect("an answer");
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").is_some_and(|value| value.starts_with("Basic ")), "{refused:?}");
}

/// Where an agent's API listens.
pub(crate) fn api_address(agent: &AgentProcess) -> std::net::SocketAddr {
    let mut address = agent.dav_address();
    address.set_port(address.port() + 1);
    address
}
