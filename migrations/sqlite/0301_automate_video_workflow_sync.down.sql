DROP TRIGGER tr_video_workflow_sync;
