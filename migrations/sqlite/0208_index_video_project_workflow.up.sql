-- creates: index videos.idx_video_project_workflow
CREATE INDEX idx_video_project_workflow ON videos (project_id, workflow_state);
