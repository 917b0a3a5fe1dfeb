from perennial.config.settings import Settings
from perennial.stack.services import SERVICES, STEPS, with_needs


def test_needs_come_before_what_needs_them():
    names = [unit.name for unit in with_needs(())]
    assert set(names) == {*SERVICES, *STEPS}
    for unit in with_needs(()):
        assert all(names.index(need) < names.index(unit.name) for need in unit.needs)


def test_a_part_of_the_stack_is_what_it_needs_and_no_more():
    assert [unit.name for unit in with_needs(("mlflow",))] == ["secrets", "postgres", "databases", "mlflow"]
    assert [unit.name for unit in with_needs(("gateway",))] == ["gateway"]


def test_postgres_alone_comes_with_its_databases():
    assert [unit.name for unit in with_needs(("postgres",))] == ["secrets", "postgres", "databases"]


def test_every_port_is_a_setting_of_one_service():
    ports = [port for service in SERVICES.values() for port in service.ports]
    assert len(ports) == len(set(ports))
    assert set(ports) == {name for name in Settings.model_fields if name.endswith("_port")}
