-- creates: index videos.idx_video_workflow_state
CREATE INDEX idx_video_workflow_state ON videos (workflow_state);
