//! SOAP 1.1, by a stock client (`soap_client.py`, with zeep) and by hand.

use std::process::Command;

use shoal_testkit::AgentProcess;

use crate::common::{Pool, printed, project, python_with_zeep};
use crate::plain::api_address;

const TEXT_XML: (&str, &str) = ("Content-Type", "text/xml; charset=utf-8");

#[test]
fn a_stock_client_loads_the_wsdl_and_uses_all_operations() {
    let pool = Pool::start(&["office-pc", "lab-2"], &["word-count", "titles"]);
    let (user, password) = AgentProcess::credentials();
    let wsdl = format!("http://{}/soap?wsdl", api_address(&pool.agents[0]));
    let script = project("agent/app/tests/doors/soap_client.py");
    let said = printed(Command::new(python_with_zeep()).arg(script).args([&wsdl, user, password]));
    assert_eq!(said.trim(), "Log, Request, Send, States: all of them work");
}

#[test]
fn faults_are_as_soap_has_them() {
    let pool = Pool::start(&["office-pc"], &[]);
    let agent = &pool.agents[0];
    let envelope = |inner: &str| {
        format!(
            "<e:Envelope xmlns:e='http://schemas.xmlsoap.org/soap/envelope/' xmlns:s='urn:shoal:soap:1'>{inner}</e:Envelope>"
        )
    };
    let body = |inner: &str| envelope(&format!("<e:Body>{inner}</e:Body>"));
    let header = "<e:Header><x xmlns='urn:x' e:mustUnderstand='1'/></e:Header><e:Body><s:Log/></e:Body>";
    for (sent, code) in [
        ("garbage".to_owned(), "soap:Client"),
        (body(""), "soap:Client"),
        (body("<s:Sing/>"), "soap:Client"),
        (body("<s:States><s:id>1</s:id></s:States>"), "soap:Client"),
        (body("<s:Send><s:type>x</s:type></s:Send>"), "soap:Client"),
        (body("<s:Send><s:type>x</s:type><s:to><s:agent>nobody</s:agent></s:to></s:Send>"), "soap:Client"),
        (envelope(header), "soap:MustUnderstand"),
        ("<Envelope xmlns='http://www.w3.org/2003/05/soap-envelope'/>".to_owned(), "soap:VersionMismatch"),
    ] {
        let response = agent.api().request("POST", "/soap", &[TEXT_XML], sent.as_bytes()).expect("an answer");
        let document = String::from_utf8_lossy(&response.body).into_owned();
        assert_eq!(response.status, 500, "{sent}: {document}");
        assert_eq!(response.header("content-type"), Some("text/xml; charset=utf-8"));
        assert!(document.contains(&format!("<faultcode>{code}</faultcode>")), "{sent}: {document}");
    }
    let response = agent.api().request("POST", "/soap", &[TEXT_XML], body("<s:Log/>").as_bytes()).expect("an answer");
    assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
    let mut stranger = shoal_testkit::HttpClient::new(api_address(agent), "admin", "wrong", crate::common::DEADLINE);
    let refused = stranger.request("POST", "/soap", &[TEXT_XML], body("<s:Log/>").as_bytes()).expect("an answer");
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").is_some_and(|value| value.starts_with("Basic ")));
    assert!(String::from_utf8_lossy(&refused.body).contains("<faultcode>soap:Client</faultcode>"));
    assert_eq!(agent.api().request("GET", "/soap", &[], b"").expect("an answer").status, 405);
}
