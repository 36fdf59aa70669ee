//! The operations.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query as UrlQuery, State};
use dci_proto::MessageId;
use dci_proto::xml::Element;

use super::super::super::super::Api;
use super::super::super::super::caller::Caller;
use super::super::super::super::failure::Failure;
use super::super::super::types::{LogFilter, SendRequest, To};
use super::super::super::{log, send, views};
use super::super::gathered;
use super::answers;
use super::envelope::{Fault, FaultCode};
use super::fields::{Fields, missing};

/// Seconds that answers are waited for unless said otherwise: within what stock clients wait themselves.
const TIMEOUT_USUAL_S: u64 = 60;

/// Does what an operation says.
pub(super) async fn call(
    api: &Arc<Api>,
    caller: &Caller,
    operation: &Element,
    document: &[u8],
) -> Result<String, Fault> {
    match operation.name.as_str() {
        "Send" => {
            let mut fields = Fields::of(operation)?;
            let request = message(&mut fields, document)?;
            fields.end()?;
            let sent = send::send_all(api, caller, &request).await?;
            let names = api.names();
            let views: Vec<_> = sent.iter().map(|one| views::sent(&names, one)).collect();
            Ok(answers::sent(&views))
        }
        "Request" => {
            let mut fields = Fields::of(operation)?;
            let request = message(&mut fields, document)?;
            let timeout_s = fields.value("timeoutSeconds")?.unwrap_or(TIMEOUT_USUAL_S);
            fields.end()?;
            let gathered = gathered::ask(api, caller, &request, Duration::from_secs(timeout_s)).await?;
            Ok(answers::gathered(&gathered))
        }
        "States" => {
            let mut fields = Fields::of(operation)?;
            let id: MessageId = fields.value("id")?.ok_or_else(|| missing("id"))?;
            fields.end()?;
            let states = send::states(State(api.clone()), caller.clone(), Path(id.to_string())).await?;
            Ok(answers::states(&states))
        }
        "Log" => {
            let filter = filter(operation)?;
            let page = log::query(State(api.clone()), caller.clone(), UrlQuery(filter)).await?;
            Ok(answers::log(&page))
        }
        other => Err(Fault::new(FaultCode::Client, format!("there is no operation {other}: see /soap?wsdl"))),
    }
}

/// What `Send` and `Request` have in common.
fn message(fields: &mut Fields<'_>, document: &[u8]) -> Result<SendRequest, Failure> {
    let kind = fields.value("type")?.ok_or_else(|| missing("type"))?;
    let to = recipients(fields.element("to").ok_or_else(|| missing("to"))?)?;
    let text = fields.text("text")?;
    let xml = if text.is_some() { None } else { fields.xml("xml", document)? };
    Ok(SendRequest {
        kind,
        to,
        text,
        xml,
        session: fields.value("session")?,
        from_session: None,
        in_reply_to: fields.value("inReplyTo")?,
        ttl: fields.value("ttl")?,
        expires_s: fields.value("expiresSeconds")?,
        user: None,
    })
}

fn recipients(element: &Element) -> Result<To, Failure> {
    let mut fields = Fields::of(element)?;
    let mut agents = Vec::new();
    while let Some(agent) = fields.text("agent")? {
        agents.push(agent);
    }
    let to = if agents.is_empty() {
        let group = fields.value("group")?.map(To::Group);
        let all = || -> Result<Option<To>, Failure> {
            Ok(fields.text("all")?.map(|text| To::All(matches!(text.trim(), "true" | "1"))))
        };
        group.map_or_else(all, |group| Ok(Some(group)))?
    } else {
        Some(To::Agents(agents))
    };
    fields.end()?;
    to.ok_or_else(|| Failure::bad("`to` has one or more `agent`, or `group`, or `all`"))
}

fn filter(operation: &Element) -> Result<LogFilter, Failure> {
    let mut fields = Fields::of(operation)?;
    let filter = LogFilter {
        kind: fields.value("type")?,
        sender: fields.text("sender")?,
        receiver: fields.text("receiver")?,
        session: fields.value("session")?,
        from_ms: fields.time("from")?,
        before_ms: fields.time("before")?,
        text: fields.text("text")?,
        direction: fields.value("direction")?,
        order: fields.value("order")?,
        limit: fields.value("limit")?,
        after: fields.value("after")?,
        id: fields.value("id")?,
    };
    fields.end()?;
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::super::NAMESPACE;
    use super::*;

    fn read(inner: &str) -> Result<SendRequest, Failure> {
        let document = format!("<s:Send xmlns:s='{NAMESPACE}' xmlns:i='urn:i' xmlns:b='urn:b'>{inner}</s:Send>");
        let root = dci_proto::xml::parse(document.as_bytes(), 100).expect("a document");
        let mut fields = Fields::of(&root)?;
        let request = message(&mut fields, document.as_bytes())?;
        fields.end().map(|()| request)
    }

    #[test]
    fn a_message_is_read_with_what_its_xml_names() {
        let request = read(
            "<s:type>chat</s:type><s:to><s:agent>a</s:agent><s:agent>b</s:agent></s:to><s:xml>1<b:x/></s:xml>
             <s:session i:nil='true'/><s:ttl> 3 </s:ttl>",
        )
        .expect("a message");
        assert_eq!(request.to, To::Agents(vec!["a".into(), "b".into()]));
        assert_eq!(request.xml.as_deref(), Some("1<b:x xmlns:b=\"urn:b\"/>"));
        assert_eq!((request.session, request.ttl), (None, Some(3)));
    }

    #[test]
    fn what_the_wsdl_does_not_say_is_refused() {
        let all = "<s:to><s:all>true</s:all></s:to>";
        assert!(read(&format!("<s:type>x</s:type>{all}")).is_ok());
        for bad in [
            all.to_owned(),
            "<s:type>x</s:type>".to_owned(),
            "<s:type>x</s:type><s:to/>".to_owned(),
            "<s:type>x</s:type><s:to><s:group>g</s:group><s:all>true</s:all></s:to>".to_owned(),
            format!("<s:type>x</s:type>{all}<s:text>1</s:text><s:xml/>"),
            format!("<s:type>x</s:type>{all}<s:text><a/></s:text>"),
            format!("<s:type>x</s:type>{all}<s:ttl>many</s:ttl>"),
            format!("<s:type>x</s:type>{all}<s:session>no</s:session>"),
            format!("{all}<s:type>x</s:type>"),
            format!("<s:type a='1'>x</s:type>{all}"),
            format!("<type>x</type>{all}"),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
