-- A window may have too few labels to say whether a drift is harmless.
ALTER TABLE verdict DROP CONSTRAINT verdict_diagnosis_check;
ALTER TABLE verdict ADD CONSTRAINT verdict_diagnosis_check
    CHECK (diagnosis IN ('', 'concept', 'covariate', 'both', 'harmless', 'unclear'));
