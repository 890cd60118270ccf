"""LLAMBO in a plain Optuna script, on the language model that the environment names.

LUTHIER_LLM_BASE_URL=http://127.0.0.1:8080/v1 LUTHIER_LLM_MODEL=my-model python llambo_in_optuna.py

Without these variables the classical sampler answers, and the trials say so.
"""

import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

import luthier

x, y = load_digits(return_X_y=True)


def accuracy(trial: optuna.Trial) -> float:
    model = SVC(
        C=trial.suggest_float("C", 1e-2, 1e3, log=True),
        gamma=trial.suggest_float("gamma", 1e-6, 1.0, log=True),
    )
    return float(cross_val_score(model, x[:600], y[:600], cv=3).mean())


llm = luthier.language_model()
sampler = luthier.LLAMBOSampler(llm=llm, task="A support vector machine (RBF) on digits.", seed=0)
study = optuna.create_study(direction="maximize", sampler=sampler)
study.optimize(accuracy, n_trials=12)
print(study.best_value, study.best_params, study.best_trial.user_attrs.get("luthier"))
if llm is not None:
    llm.close()
