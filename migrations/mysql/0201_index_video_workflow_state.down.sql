ALTER TABLE videos DROP INDEX idx_video_workflow_state,
    ALGORITHM=INPLACE, LOCK=NONE
