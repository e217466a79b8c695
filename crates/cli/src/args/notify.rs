//! The arguments of `notify`.

use std::time::Duration;

use clap::{ArgGroup, Args};
use reelshift_store::notifications::{
    EVENT_TYPE_CHARACTERS, MAX_ATTEMPTS, ROOM_CHARACTERS, SESSION_CHARACTERS, USER_CHARACTERS,
};
use serde_json::Value;

#[derive(Debug, Args)]
#[command(override_usage = "reelshift notify <--room|--session|--user|--broadcast> [OPTIONS] <TYPE>", group = ArgGroup::new("to").required(true).multiple(true).args(["room", "session", "user", "broadcast"]))]
pub struct NotifyArgs {
    /// What happened: workflow_completed, maintenance, …
    #[arg(value_name = "TYPE", value_parser = up_to(EVENT_TYPE_CHARACTERS))]
    pub event_type: String,

    /// To the subscribers of this room; a video's is video_ID
    #[arg(long, value_parser = up_to(ROOM_CHARACTERS))]
    pub room: Option<String>,

    /// To the subscribers of this session
    #[arg(long, value_parser = up_to(SESSION_CHARACTERS))]
    pub session: Option<String>,

    /// To the subscribers of this user
    #[arg(long, value_parser = up_to(USER_CHARACTERS))]
    pub user: Option<String>,

    /// To all subscribers
    #[arg(long)]
    pub broadcast: bool,

    /// What to say, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json)]
    pub data: Value,

    /// What goes along with it, as JSON
    #[arg(long, value_name = "JSON", value_parser = json)]
    pub metadata: Option<Value>,

    /// Lower is delivered first
    #[arg(long, default_value_t = 5, allow_negative_numbers = true)]
    pub priority: i32,

    /// Not before this time from now: 10min, 2h, …
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub after: Option<Duration>,

    /// Not delivered later than this from now
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub expires_in: Option<Duration>,

    /// Attempts at a webhook before it is given up
    #[arg(long, default_value_t = MAX_ATTEMPTS, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub max_attempts: i32,
}

fn up_to(most: usize) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |text| match text.chars().count() {
        0 => Err("it is empty".to_owned()),
        count if count > most => Err(format!("it has {count} characters: give at most {most}")),
        _ => Ok(text.to_owned()),
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("this is no JSON ({error})"))
}
