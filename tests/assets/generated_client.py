"""Takes an expanded database through the other phases by the client that openapi-generator
made of reelshift's OpenAPI document, and looks at it as a script of an operator's would.

    generated_client.py URL TOKEN

The client's package is on PYTHONPATH; the workers are somebody else's. The last line of the
output is what was seen, as JSON. Any answer that is not as the document says ends the script:
the client checks each one against it.
"""

import json
import sys
import time

import reelshift_client as reelshift
from reelshift_client.exceptions import ApiException


class Operator:
    """The client's interfaces, and the waits between them."""

    def __init__(self, url, token):
        client = reelshift.ApiClient(reelshift.Configuration(host=url, access_token=token))
        self.controls = reelshift.ControlsApi(client)
        self.errors = reelshift.ErrorsApi(client)
        self.flags = reelshift.FlagsApi(client)
        self.phases = reelshift.PhasesApi(client)
        self.quarantine = reelshift.QuarantineApi(client)
        self.runs = reelshift.RunsApi(client)
        self.status = reelshift.StatusApi(client)
        self.validation = reelshift.ValidationApi(client)
        self.audit = reelshift.AuditApi(client)

    def apply(self, phase):
        """Applies a phase and waits for its end; the steps that were done."""
        request = reelshift.ApplyRequest(reason="by the generated client")
        self.phases.apply_phase(phase, request)
        application = until(f"{phase} is applied", lambda: self.ended_application(phase))
        assert application.complete, application.trouble
        return len(application.steps)

    def ended_application(self, phase):
        application = self.phases.get_application(phase)
        return application if application.finished_at else None

    def enqueue(self, kind, **options):
        """Makes a run."""
        enqueued = self.runs.enqueue_run(reelshift.NewRun(kind=kind, **options))
        assert enqueued.created, enqueued
        return str(enqueued.run.id)

    def run_ended(self, run):
        """The run, once it is `done` or `failed`."""
        report = self.runs.get_run(run)
        return report if report.state in ("done", "failed") else None

    def at_the_end(self):
        """The status, once every phase but the rollout is done."""
        status = self.status.get_status()
        undone = {phase.phase for phase in status.phases if phase.progress != "done"}
        return status if undone == {"rollout"} else None

    def validated(self):
        """The report of the validation, once there is one."""
        return self.validation.get_validation().report


def until(what, look):
    """What `look` returns once it is true."""
    ends = time.monotonic() + 300
    while time.monotonic() < ends:
        if seen := look():
            return seen
        time.sleep(0.1)
    raise TimeoutError(f"not within five minutes: {what}")


def migrate(operator):
    seen = {"expanded": operator.phases.plan_phase("expand").done}

    # A pause that nobody has to end, and its end.
    paused = operator.controls.pause_fleet(reelshift.Pause(reason="a look first", for_seconds=600))
    seen["paused"] = len(paused.changes)
    backfill = operator.enqueue("backfill", batch_rows=20)
    operator.controls.resume_fleet(reelshift.Why(reason="seen"))
    tuned = reelshift.Tune(settings={"byte_rate": "100MiB"}, reason="slowly at first")
    operator.controls.tune_controls(tuned)
    report = until("the backfill ends", lambda: operator.run_ended(backfill))
    seen["backfill"] = [report.state, report.rows_total]
    operator.controls.tune_controls(reelshift.Tune(settings={"byte_rate": None}))

    # Files, of which one is missing: found, accepted, listed.
    hashes = operator.enqueue("hash", batch_files=10)
    report = until("the hash ends", lambda: operator.run_ended(hashes))
    seen["hash"] = report.state
    seen["errors"] = [error.error_type for error in operator.errors.list_errors(limit=10).items]
    counted = operator.runs.rerun_failed(reelshift.Selection(quarantined=True, dry_run=True))
    seen["would_rerun"] = counted.items
    accepted = reelshift.AcceptRequest(query="cause:file_missing", reason="deleted in 2024")
    seen["accepted"] = operator.quarantine.accept_quarantine(accepted).accepted
    left = [item for item in operator.quarantine.list_quarantine().items if not item.accepted]
    assert not left, left

    # The flag, and what was not expected of it.
    on = reelshift.Wanted(enabled=True, rollout_percent=50, reason="half of the videos")
    operator.flags.set_flag("enhanced_video_processing", on)
    try:
        wrong = reelshift.Rollout(enabled=False, rollout_percent=0)
        late = reelshift.Wanted(enabled=True, rollout_percent=100, expected=wrong)
        operator.flags.set_flag("enhanced_video_processing", late)
    except ApiException as refused:
        seen["refused"] = [refused.status, json.loads(refused.body)["type"]]

    seen["index"] = operator.apply("index")
    seen["automate"] = operator.apply("automate")
    operator.validation.start_validation()
    seen["valid"] = until("it is validated", operator.validated).valid

    # What is shown is read every second or two.
    status = until("the status has all of it", operator.at_the_end)
    seen["verdict"] = status.verdict.kind
    seen["phases"] = {phase.phase: phase.progress for phase in status.phases}
    way_back = operator.phases.plan_rollback(reelshift.Back(purge=True))
    seen["rollback"] = [len(way_back.steps) > 0, way_back.refused]
    seen["audit"] = sorted({entry.action for entry in operator.audit.list_audit(limit=100).items})
    return seen


if __name__ == "__main__":
    print(json.dumps(migrate(Operator(*sys.argv[1:]))))
