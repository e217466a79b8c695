-- creates: index videos.idx_video_workflow_updated
CREATE INDEX idx_video_workflow_updated ON videos (workflow_state, updated_at);
