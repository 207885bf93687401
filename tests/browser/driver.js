// Added to every page by lab.py: what a test needs of JupyterLab's own application object, as `driver`.
window.driver = {
  panel: null,
  running: 0,
  started: [],

  get app() {
    return window.jupyterapp;
  },

  // Notebook 7 has a page for each notebook, which opens by itself.
  get classic() {
    return this.app.name === 'Jupyter Notebook';
  },

  async ready() {
    await this.app.restored;
    if (!this.classic) {
      this.app.shell.collapseLeft();
      this.app.shell.collapseRight();
    }
  },

  async open(path) {
    await this.close();
    if (this.classic) {
      while (!this.app.shell.currentWidget?.context) {
        await this.painted();
      }
      this.panel = this.app.shell.currentWidget;
    } else {
      this.panel = await this.app.commands.execute('docmanager:open', { path, factory: 'Notebook' });
    }
    await this.panel.context.ready;
    await this.panel.revealed;
    await this.panel.sessionContext.ready;
    await this.panel.sessionContext.session.kernel.info;
    await this.painted();
  },

  async close() {
    if (this.panel === null) {
      return;
    }
    await this.panel.sessionContext.shutdown();
    this.panel.dispose();
    this.panel = null;
    this.started = [];
    this.running = 0;
  },

  // The status bar is no witness of a cell's end; the promise of the command is.
  start(command, index) {
    if (index !== undefined) {
      this.panel.content.activeCellIndex = index;
      this.panel.content.deselectAll();
    }
    this.running += 1;
    this.started.push(this.command(command).finally(() => (this.running -= 1)));
  },

  async command(name) {
    this.app.shell.activateById(this.panel.id);
    return this.app.commands.execute(name);
  },

  async idle() {
    await Promise.all(this.started.splice(0));
    await this.painted();
  },

  cell(index) {
    return this.panel.content.widgets[index];
  },

  node(index) {
    return index === null ? this.panel.content.node : this.cell(index).node;
  },

  add(source) {
    const cells = this.panel.content.model.sharedModel;
    cells.addCell({ cell_type: 'code', source });
    return cells.cells.length - 1;
  },

  async theme(name) {
    await this.app.commands.execute('apputils:change-theme', { theme: name });
    while (document.body.dataset.jpThemeName !== name) {
      await this.painted();
    }
    await this.painted();
  },

  // CSS pixels by which the notebook is higher than the space it has.
  hiddenHeight() {
    const view = this.panel.content.node.querySelector('.jp-WindowedPanel-outer') ?? this.panel.content.node;
    return Math.max(0, view.scrollHeight - view.clientHeight);
  },

  // Pictures are decoded, and two frames have passed: one lays out what has just changed, one shows it.
  async painted() {
    await Promise.allSettled([...document.images].map(image => image.decode()));
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  },

  state() {
    const kernel = this.panel?.sessionContext.session?.kernel;
    const dialogs = [...document.querySelectorAll('.jp-Dialog-content')].map(node => node.innerText);
    return `kernel ${kernel?.status ?? 'not there'}, ${this.running} running, dialogs: ${JSON.stringify(dialogs)}`;
  }
};
