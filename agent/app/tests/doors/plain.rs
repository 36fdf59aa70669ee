//! Plain XML over HTTP.

use std::process::Command;

use shoal_testkit::{AgentProcess, HttpResponse};

use crate::common::{Pool, printed, project, python_with_zeep};

const XML: (&str, &str) = ("Content-Type", "application/xml");

fn post(agent: &AgentProcess, path: &str, body: &str) -> HttpResponse {
    agent.api().request("POST", path, &[XML], body.as_bytes()).expect("an answer")
}

fn text(response: &HttpResponse) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
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
    let mut stranger = shoal_testkit::HttpClient::new(api_address(agent), "admin", "wrong", crate::common::DEADLINE);
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
