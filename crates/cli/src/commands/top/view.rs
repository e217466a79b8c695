//! What is on the screen, and what a key changes of it.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use reelshift_operate::Reason;
use reelshift_overview::{Overview, Sampler};
use reelshift_store::Sample;

use super::News;
use super::action::Action;
use super::panel::{Key, Panel, RowKey};

/// Characters of a reason.
const MAX_REASON: usize = 200;

/// One sample, and those before it.
#[derive(Debug)]
pub(super) struct Seen {
    pub overview: Overview,
    /// Of the last hour, the oldest first.
    pub samples: Vec<Sample>,
}

impl Seen {
    pub(super) async fn sample(sampler: &mut Sampler) -> reelshift_store::Result<Self> {
        let overview = sampler.sample().await?;
        Ok(Self { overview, samples: sampler.history().points().cloned().collect() })
    }
}

/// An action that waits for its confirmation, and the reason typed so far.
#[derive(Debug)]
pub(super) struct Question {
    pub action: Action,
    pub reason: String,
}

impl Question {
    pub(super) fn reason(&self) -> Option<&str> {
        Some(self.reason.trim()).filter(|reason| !reason.is_empty())
    }
}

/// What comes after a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    /// The whole screen anew: something else has written on it.
    Redraw,
    End,
    /// With the reason for the audit.
    Act(Action, Option<Reason>),
}

#[derive(Debug)]
pub(super) struct View {
    /// The database.
    pub database: String,
    pub seen: Seen,
    taken: Instant,
    /// Why there is nothing newer.
    pub trouble: Option<String>,
    pub panel: Panel,
    /// The row that is selected, if it is still in its list.
    selected: Option<RowKey>,
    pub question: Option<Question>,
    /// What came of the last action, or that it is under way.
    pub outcome: Option<Result<String, String>>,
}

impl View {
    pub(super) fn new(database: String, seen: Seen) -> Self {
        Self {
            database,
            seen,
            taken: Instant::now(),
            trouble: None,
            panel: Panel::Runs,
            selected: None,
            question: None,
            outcome: None,
        }
    }

    pub(super) const fn overview(&self) -> &Overview {
        &self.seen.overview
    }

    /// How old the figures are.
    pub(super) fn age(&self) -> Duration {
        self.taken.elapsed()
    }

    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Seen(seen) => {
                // What is shown as selected stays so, wherever its row goes.
                self.selected = self.selected_key();
                self.seen = *seen;
                self.taken = Instant::now();
                self.trouble = None;
            }
            News::Trouble(why) => self.trouble = Some(why),
            News::Acted(outcome) => self.outcome = Some(outcome),
        }
    }

    /// The place of the selected row in its list; `None` where the list is empty.
    pub(super) fn selected(&self) -> Option<usize> {
        let keys = self.panel.keys(self.overview());
        let place = keys.iter().position(|key| Some(key) == self.selected.as_ref());
        place.or((!keys.is_empty()).then_some(0))
    }

    fn selected_key(&self) -> Option<RowKey> {
        let mut keys = self.panel.keys(self.overview());
        self.selected().map(|place| keys.swap_remove(place))
    }

    /// The keys that do something now, beside those that move.
    pub(super) fn actions(&self) -> Vec<Key> {
        let row = self.selected_key();
        let mut actions = row.map_or_else(Vec::new, |row| row.actions(self.overview()));
        if self.overview().expanded {
            let (word, action) = if self.overview().paused() {
                ("resume fleet", Action::ResumeFleet)
            } else {
                ("pause fleet", Action::PauseFleet)
            };
            actions.push(Key { letter: 'P', word, action });
        }
        actions
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SUPER)
        {
            return match key.code {
                KeyCode::Char('c' | 'd') => Next::End,
                KeyCode::Char('l') => Next::Redraw,
                _ => Next::Stay,
            };
        }
        match self.question.take() {
            Some(question) => self.answer(question, key.code),
            None => self.browse(key.code),
        }
    }

    /// Adds pasted text to the reason of an open question, with blanks for line breaks. Without a
    /// question it is ignored.
    pub(super) fn paste(&mut self, text: &str) {
        if let Some(question) = &mut self.question {
            let left = MAX_REASON.saturating_sub(question.reason.chars().count());
            let letters = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
            question.reason.extend(letters.take(left));
        }
    }

    fn answer(&mut self, mut question: Question, key: KeyCode) -> Next {
        match key {
            KeyCode::Enter => {
                let command = question.action.command(question.reason());
                self.outcome = Some(Ok(format!("under way: {command}")));
                // No longer than [`MAX_REASON`], so it is one.
                let reason = question.reason().and_then(|why| why.parse().ok());
                return Next::Act(question.action, reason);
            }
            KeyCode::Esc => return Next::Stay,
            KeyCode::Backspace => {
                question.reason.pop();
            }
            KeyCode::Char(letter) if question.reason.chars().count() < MAX_REASON => {
                question.reason.push(letter);
            }
            _ => {}
        }
        self.question = Some(question);
        Next::Stay
    }

    fn browse(&mut self, key: KeyCode) -> Next {
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Next::End,
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(2),
            KeyCode::Down | KeyCode::Char('j') => self.step(|place| place + 1),
            KeyCode::Up | KeyCode::Char('k') => self.step(|place| place.saturating_sub(1)),
            KeyCode::Char(letter) => {
                let pressed = self.actions().into_iter().find(|key| key.letter == letter);
                if let Some(Key { action, .. }) = pressed {
                    self.outcome = None;
                    self.question = Some(Question { action, reason: String::new() });
                }
            }
            _ => {}
        }
        Next::Stay
    }

    fn turn(&mut self, steps: usize) {
        self.panel = self.panel.further(steps);
        self.selected = None;
    }

    fn step(&mut self, to: impl Fn(usize) -> usize) {
        let mut keys = self.panel.keys(self.overview());
        if let Some(place) = self.selected().map(to) {
            self.selected = Some(keys.swap_remove(place.min(keys.len() - 1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use reelshift_overview::sample;

    use super::*;

    fn view() -> View {
        let overview = sample::overview(sample::report());
        View::new("videos".to_owned(), Seen { overview, samples: Vec::new() })
    }

    fn press(view: &mut View, keys: &str) -> Next {
        let mut next = Next::Stay;
        for letter in keys.chars() {
            let code = match letter {
                '\r' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                letter => KeyCode::Char(letter),
            };
            next = view.press(KeyEvent::from(code));
        }
        next
    }

    fn letters(view: &View) -> String {
        view.actions().iter().map(|key| key.letter).collect()
    }

    #[test]
    fn a_selection_stays_with_its_row_while_rows_move() {
        let mut view = view();
        press(&mut view, "\tj");
        assert_eq!(view.selected(), Some(1));
        let mut overview = view.overview().clone();
        overview.report.as_mut().expect("a report").workers.swap(0, 1);
        view.take(News::Seen(Box::new(Seen { overview, samples: Vec::new() })));
        assert_eq!(view.selected(), Some(0));
        press(&mut view, "jjj");
        assert_eq!(view.selected(), Some(1), "it ends at the last row");
    }

    #[test]
    fn keys_are_those_of_the_row_and_do_nothing_unasked() {
        let mut view = view();
        press(&mut view, "\t\t");
        assert_eq!(view.panel, Panel::Failures);
        assert_eq!(letters(&view), "rP");
        assert_eq!(press(&mut view, "rq"), Next::Stay, "the letter is of the reason");
        let Next::Act(Action::RerunFailure { error_type, .. }, reason) = press(&mut view, "\r")
        else {
            panic!("it acts");
        };
        let report = view.overview().report.as_ref().expect("a report");
        assert_eq!(error_type, report.errors[0].error_type);
        assert_eq!(reason.as_ref().map(Reason::as_str), Some("q"));
        assert_eq!(press(&mut view, "d"), Next::Stay, "no key of this list");
        assert!(view.question.is_none());
        // What is pasted is text, whatever stands in it.
        view.paste("P\r");
        assert!(view.question.is_none());
        press(&mut view, "P");
        view.paste("array rebuild\nPlease see ticket\n");
        let question = view.question.as_ref().expect("it is asked");
        assert_eq!(question.reason, "array rebuild Please see ticket");
        let control = KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL);
        assert_eq!(view.press(control), Next::Stay);
        assert!(!view.question.as_ref().expect("still").reason.ends_with('u'));
        view.press(KeyEvent::from(KeyCode::Esc));
        assert_eq!(press(&mut view, "q"), Next::End);
    }

    #[test]
    fn a_row_that_comes_above_takes_no_selection() {
        let mut view = view();
        let mut overview = view.overview().clone();
        let report = overview.report.as_mut().expect("a report");
        let mut newer = report.runs[0].clone();
        newer.run.id = uuid::Uuid::from_u128(7);
        report.runs.insert(0, newer);
        view.take(News::Seen(Box::new(Seen { overview, samples: Vec::new() })));
        assert_eq!(view.selected(), Some(1));
    }

    #[test]
    fn an_empty_list_has_nothing_to_act_on() {
        let mut view = view();
        view.seen.overview.report = None;
        view.seen.overview.expanded = false;
        press(&mut view, "jk");
        assert_eq!((view.selected(), letters(&view)), (None, String::new()));
    }
}
