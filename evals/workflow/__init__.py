"""Problems on which the improvement of workflows is measured, and what its rules let through."""
