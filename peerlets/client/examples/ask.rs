//! Asks all agents of the pool: `cargo run -p shoal-client --example ask -- DATA TYPE TEXT`.

use std::process::ExitCode;
use std::time::Duration;

use shoal_client::{Client, ClientError, Event, Message, To};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, kind, text] = arguments.as_slice() else {
        eprintln!("usage: ask DATA TYPE TEXT");
        return ExitCode::from(2);
    };
    match ask(data, kind, text) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(data: &str, kind: &str, text: &str) -> Result<bool, ClientError> {
    let message = Message::text(kind, To::All, text);
    let mut all_finished = false;
    for event in Client::new(data).request(&message, Duration::from_secs(30))? {
        match event? {
            Event::Reply(reply) => println!("{}: {}", reply.name, reply.says()),
            Event::Done { finished } => all_finished = finished,
            Event::Sent(_) | Event::State(_) => {}
        }
    }
    Ok(all_finished)
}
