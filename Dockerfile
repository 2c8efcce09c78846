# The operator's command, which also migrates the database: the image of the jobs in terraform/jobs.tf.
# The base's version is that of the functions' runtime; its patches come with each build, and jobs name a build by digest.

FROM python:3.13-slim-trixie AS build
COPY requirements/cli.txt /requirements.txt
RUN python -m venv --without-pip /opt/merchdrop/venv
# Wheels alone: there is no compiler here, and none is missed.
RUN pip --python /opt/merchdrop/venv/bin/python install --no-cache-dir --only-binary :all: --require-hashes -r /requirements.txt
COPY cli /opt/merchdrop/app/cli
COPY common /opt/merchdrop/app/common
COPY migrations /opt/merchdrop/app/migrations
# What the command shares with the engine on a laptop, which is not in here.
COPY local/__init__.py local/data_dir.py local/machine.py local/stripe_faults.py /opt/merchdrop/app/local/
RUN printf '#!/opt/merchdrop/venv/bin/python\nfrom cli.main import main\nmain()\n' > /opt/merchdrop/venv/bin/merchdrop
RUN chmod 755 /opt/merchdrop/venv/bin/merchdrop
# Who runs it can't write here, so this is the only chance to compile; pip has done its part.
RUN python -m compileall -q /opt/merchdrop/app

FROM python:3.13-slim-trixie
RUN pip uninstall --yes --root-user-action ignore pip
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin merchdrop
COPY --from=build /opt/merchdrop /opt/merchdrop
ENV PATH=/opt/merchdrop/venv/bin:$PATH PYTHONPATH=/opt/merchdrop/app PYTHONUNBUFFERED=1
USER merchdrop
ENTRYPOINT ["merchdrop"]
