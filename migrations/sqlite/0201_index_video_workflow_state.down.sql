DROP INDEX idx_video_workflow_state;
