-- Several candidates may meet the champion on the holdout: who did, and what came of each. Empty where it was one.

ALTER TABLE decision ADD COLUMN finalists jsonb NOT NULL DEFAULT '[]';
