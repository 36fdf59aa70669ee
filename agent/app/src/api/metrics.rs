//! `/metrics` for Prometheus: gauges read when asked for, nothing counted twice.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use shoal_care::Tally;
use shoal_care::pace::ClassStats;
use shoal_dav::{DoorStats, LATENCY_BUCKETS_MS};

use super::Api;
use super::caller::Caller;
use super::failure::Failure;
use crate::context::AgentContext;
use crate::files::Files;
use crate::messages::Messages;
use crate::status::{NodeStatus, StatusReport};
use crate::words::reason_label;

pub(super) async fn scrape(State(api): State<Arc<Api>>, _caller: Caller) -> Result<Response, Failure> {
    let text = exposition(&api.agent).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// One metric in the text format of Prometheus (version 0.0.4).
struct Page(String);

impl Page {
    fn metric(&mut self, name: &str, kind: &str, help: &str, samples: &[(String, f64)]) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP shoal_{name} {help}\n# TYPE shoal_{name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(self.0, "shoal_{name}{labels} {value}");
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.metric(name, "gauge", help, &[(String::new(), value)]);
    }

    /// A histogram; the stats count each request in one bucket, Prometheus wants them summed up.
    fn latencies(&mut self, name: &str, help: &str, stats: &DoorStats) {
        let _ = writeln!(self.0, "# HELP shoal_{name} {help}\n# TYPE shoal_{name} histogram");
        let counts = stats.latencies();
        let limits = LATENCY_BUCKETS_MS.iter().map(|ms| (*ms as f64 / 1e3).to_string());
        let mut total = 0;
        for (limit, count) in limits.chain(["+Inf".to_owned()]).zip(&counts) {
            total += count;
            let _ = writeln!(self.0, "shoal_{name}_bucket{{le=\"{limit}\"}} {total}");
        }
        let _ = writeln!(self.0, "shoal_{name}_sum {}", stats.latency_sum_us() as f64 / 1e6);
        let _ = writeln!(self.0, "shoal_{name}_count {total}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.metric(name, "counter", help, &[(String::new(), value as f64)]);
    }
}

/// A label whose value may hold anything.
fn label(name: &str, value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{{name}=\"{escaped}\"}}")
}

async fn exposition(agent: &AgentContext) -> Result<String, Failure> {
    let report = agent.status().await?;
    let mut page = Page(String::new());
    let flag = |value: bool| f64::from(u8::from(value));
    page.gauge("survives", "Agents that may be lost without losing data.", f64::from(report.survives));
    page.gauge("survives_writing", "Agents that may be lost before changes stop.", f64::from(report.survives_writing));
    page.gauge("quorum", "Whether changes can be agreed on.", flag(report.quorum));
    let stripes = &report.stripes;
    let by_health = [
        ("healthy", stripes.healthy),
        ("degraded", stripes.degraded),
        ("endangered", stripes.endangered),
        ("lost", stripes.lost),
    ];
    let samples: Vec<_> = by_health.iter().map(|(name, count)| (label("health", name), *count as f64)).collect();
    page.metric("stripes", "gauge", "Stripes by health.", &samples);
    page.gauge("bad_shards", "Shards found bad by their agents and not mended in place.", report.bad_shards as f64);
    page.gauge("repair_queued_bytes", "Bytes of shards that wait to be rebuilt.", report.repair.queued_bytes as f64);
    let up: Vec<_> = report.nodes.iter().map(|node| (label("agent", &node.name), flag(node.state.answers()))).collect();
    page.metric("agent_up", "gauge", "Whether an agent answers.", &up);
    let used: Vec<_> = report.nodes.iter().map(|node| (label("agent", &node.name), node.used_bytes as f64)).collect();
    page.metric("agent_used_bytes", "gauge", "Bytes an agent's shards use.", &used);
    let capacity: Vec<_> =
        report.nodes.iter().map(|node| (label("agent", &node.name), node.capacity_bytes as f64)).collect();
    page.metric("agent_capacity_bytes", "gauge", "Bytes an agent gives.", &capacity);
    let standing: Vec<_> =
        report.nodes.iter().map(|node| (label("agent", &node.name), f64::from(node.standing))).collect();
    page.metric("agent_standing", "gauge", "How far an agent can be relied on, 0 to 100.", &standing);
    let failing: Vec<_> = report.nodes.iter().map(|node| (label("agent", &node.name), flag(node.failing))).collect();
    page.metric("agent_failing", "gauge", "Whether an agent is likely to fail soon.", &failing);
    let suspicions = agent.health.suspicions();
    page.counter("suspicions_total", "Times an agent that had answered was suspected.", suspicions.total);
    page.counter(
        "suspicions_likely_false_total",
        "Suspicions that cleared within 10 s: the agent or the network was only busy.",
        suspicions.likely_false,
    );
    care_metrics(&mut page, agent, &report);
    machine_metrics(&mut page, agent);
    let space = agent.store.space();
    page.gauge("store_shards", "Shards this agent holds.", space.shards as f64);
    page.gauge("store_free_bytes", "Bytes this agent still takes.", space.free_bytes as f64);
    if let Some(drive) = &agent.drive {
        drive_metrics(&mut page, drive);
    }
    if let Some(stats) = &agent.dav_stats {
        door_metrics(&mut page, stats);
    }
    if let Ok(messages) = &agent.messages {
        plane(&mut page, messages);
    }
    if let Ok(files) = &agent.files {
        files_metrics(&mut page, files);
    }
    Ok(page.0)
}

/// What keeps the volume whole. What waits is the same on all agents, as the one that leads tells it; what was done is
/// counted by the agent that led then.
fn care_metrics(page: &mut Page, agent: &AgentContext, report: &StatusReport) {
    let work = report.work.clone().unwrap_or_default();
    let each = |value: fn(&Tally) -> u64| {
        let waiting = work.waiting.iter().map(|(reason, tally)| (label("reason", reason_label(*reason)), value(tally)));
        let stuck = std::iter::once((label("reason", "stuck"), value(&work.stuck)));
        waiting.chain(stuck).map(|(label, value)| (label, value as f64)).collect::<Vec<_>>()
    };
    page.metric(
        "waiting_stripes",
        "gauge",
        "Stripes that wait to be worked on, by reason.",
        &each(|tally| tally.stripes),
    );
    page.metric("waiting_bytes", "gauge", "Bytes to be written for them.", &each(|tally| tally.bytes));
    page.gauge("keeping_under_way", "Jobs that keep the volume whole, under way.", work.under_way as f64);
    page.gauge("keeping_bytes_per_second", "Bytes they write a second.", work.rate_bytes_per_s as f64);
    let stats = agent.keeping.stats();
    for (name, help, value) in [
        ("shards", "Shards made anew or given on, on this agent's word.", stats.shards),
        ("recuts", "Stripes cut anew, on this agent's word.", stats.recuts),
        ("read_bytes", "Bytes read for both.", stats.read_bytes),
        ("written_bytes", "Bytes written for both.", stats.written_bytes),
        ("failures", "Such jobs that failed and are tried again.", stats.failures),
    ] {
        page.counter(&format!("keeping_{name}_total"), help, value);
    }
    page.gauge("trash_files", "Versions of files in the trash.", report.trash.files as f64);
    page.gauge("trash_bytes", "Bytes of those.", report.trash.bytes as f64);
    let drained = |node: &NodeStatus| {
        let drain = node.drain.as_ref()?;
        Some((label("agent", &node.name), drain.bytes_left as f64))
    };
    let left: Vec<_> = report.nodes.iter().filter_map(drained).collect();
    page.metric("drain_left_bytes", "gauge", "Bytes still on an agent that is drained.", &left);
    let safe = |node: &NodeStatus| (label("agent", &node.name), f64::from(u8::from(node.switch_off.safe)));
    let safe: Vec<_> = report.nodes.iter().map(safe).collect();
    page.metric("agent_safe_to_switch_off", "gauge", "Whether an agent can be switched off now.", &safe);
}

fn machine_metrics(page: &mut Page, agent: &AgentContext) {
    page.counter("sleeps_total", "Times this machine slept or hung while the agent ran.", agent.wake.now().times);
    let own = agent.health.self_report();
    page.gauge("owed_bytes", "Bytes this agent must give back to its owner.", own.owed_bytes as f64);
    let stats = agent.background.stats();
    let each = |value: fn(&ClassStats) -> f64| {
        stats.iter().map(|(class, stats)| (label("class", class.as_str()), value(stats))).collect::<Vec<_>>()
    };
    let turns = each(|stats| stats.turns as f64);
    page.metric("background_turns_total", "counter", "Steps of background work begun.", &turns);
    let worked = each(|stats| stats.worked.as_secs_f64());
    page.metric("background_worked_seconds_total", "counter", "Time in steps of background work.", &worked);
    let waited = each(|stats| stats.waited.as_secs_f64());
    page.metric("background_waited_seconds_total", "counter", "Time such steps waited for their turn.", &waited);
}

fn drive_metrics(page: &mut Page, drive: &shoal_volume::Drive) {
    let stats = drive.stats();
    for (name, help, value) in [
        ("read_bytes", "Bytes of files read here.", stats.read_bytes),
        ("written_bytes", "Bytes of files written here.", stats.written_bytes),
        ("cache_hits", "Chunks found in memory.", stats.cache_hits),
        ("cache_misses", "Chunks fetched from agents.", stats.cache_misses),
        ("known_chunks", "Chunks not written because the pool had them.", stats.known_chunks),
        ("hedges", "Reads that asked another agent because one was slow.", stats.hedges),
        ("degraded_reads", "Reads that had to decode.", stats.degraded_reads),
        ("replaced_stripes", "Chunks written anew because the stripe the pool had was unfit.", stats.replaced_stripes),
        ("replaced_shards", "Shards that went to another agent than first chosen.", stats.replaced_shards),
        ("resealed_chunks", "Chunks cut anew because agents dropped out.", stats.resealed_chunks),
        ("degraded_writes", "Chunks written with fewer shards than the policy asks.", stats.degraded_writes),
        ("bad_shards", "Shards found missing or damaged.", stats.bad_shards),
    ] {
        page.counter(&format!("drive_{name}_total"), help, value);
    }
}

fn door_metrics(page: &mut Page, stats: &DoorStats) {
    let requests = stats.requests();
    let samples = requests
        .iter()
        .map(|(method, status, count)| (format!("{{method=\"{method}\",status=\"{status}\"}}"), *count as f64));
    page.metric("dav_requests_total", "counter", "WebDAV requests.", &samples.collect::<Vec<_>>());
    page.counter("dav_received_bytes_total", "Bytes of bodies received.", stats.received_bytes());
    page.counter("dav_sent_bytes_total", "Bytes of bodies sent.", stats.sent_bytes());
    page.counter("dav_connections_total", "Connections accepted.", stats.connections());
    page.gauge("dav_connections_open", "Connections open now.", stats.connections_open() as f64);
    page.latencies("dav_request_seconds", "Time to answer WebDAV requests.", stats);
}

fn files_metrics(page: &mut Page, files: &Files) {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    let counts = files.counts();
    page.counter("file_bytes_pulled_total", "Bytes of files fetched from other agents.", count(&counts.pulled));
    page.counter("file_bytes_served_total", "Bytes of files given to other agents.", count(&counts.served));
    page.counter(
        "file_pieces_refused_total",
        "Pieces of files that were asked for and not given.",
        count(&counts.refused),
    );
    page.gauge("file_bytes_kept", "Bytes kept of files that are sent or received.", files.room_bytes().0 as f64);
}

fn plane(page: &mut Page, messages: &Messages) {
    let traffic = messages.traffic();
    page.gauge("message_neighbours", "Agents messages are handed to directly.", traffic.neighbours as f64);
    page.gauge("message_ids_remembered", "Messages the router remembers.", traffic.seen as f64);
    page.gauge("message_ways_learnt", "Ways to agents that are no neighbours.", traffic.routes as f64);
    page.counter("message_copies_sent_total", "Copies of messages handed to neighbours.", traffic.sent);
    page.counter(
        "message_copies_dropped_total",
        "Copies of messages that did not get to a neighbour.",
        traffic.dropped,
    );
    let refused = messages.refusals().counts();
    let samples: Vec<_> = refused.iter().map(|(reason, count)| (label("reason", reason), *count as f64)).collect();
    page.metric("messages_refused_total", "counter", "Messages that were refused, by reason.", &samples);
    let (known, noted, refused) = messages.directory_sizes();
    page.gauge("directory_offers", "Agents whose peerlets are known here.", known as f64);
    page.gauge(
        "directory_versions_noted",
        "Offers of agents that neighbours have and are to be asked for.",
        noted as f64,
    );
    page.counter(
        "directory_offers_refused_total",
        "Offers that were no offers, of no member or not signed right.",
        refused,
    );
}

#[cfg(test)]
mod tests {
    use super::{Page, label};

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let mut page = Page(String::new());
        page.metric("x", "gauge", "Why.", &[(label("agent", "a\"b\\c\n"), 1.5)]);
        assert_eq!(page.0, "# HELP shoal_x Why.\n# TYPE shoal_x gauge\nshoal_x{agent=\"a\\\"b\\\\c\\n\"} 1.5\n");
    }
}
