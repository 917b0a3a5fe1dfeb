"""A FastAPI app that does nothing: what is possible at all."""

from fastapi import FastAPI, Request

app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> dict[str, list[dict[str, float]]]:
    await request.body()
    return {"predictions": [{"label": 0, "probability": 0.5}]}
